package config

import (
	"strconv"
	"strings"
	"syscall"
)

// The real-time signals as glibc and systemd number them: two below the first
// are kept for threads (signal(7)).
const (
	firstRealTime = 34 // SIGRTMIN
	lastRealTime  = 64 // SIGRTMAX
)

// signals are the signals of signal(7) that Linux has on every machine.
var signals = [...]struct { //nolint:gochecknoglobals // a table, never written
	name   string
	number syscall.Signal
}{
	{"SIGABRT", syscall.SIGABRT}, {"SIGALRM", syscall.SIGALRM}, {"SIGBUS", syscall.SIGBUS},
	{"SIGCHLD", syscall.SIGCHLD}, {"SIGCONT", syscall.SIGCONT}, {"SIGFPE", syscall.SIGFPE},
	{"SIGHUP", syscall.SIGHUP}, {"SIGILL", syscall.SIGILL}, {"SIGINT", syscall.SIGINT},
	{"SIGIO", syscall.SIGIO}, {"SIGKILL", syscall.SIGKILL}, {"SIGPIPE", syscall.SIGPIPE},
	{"SIGPROF", syscall.SIGPROF}, {"SIGPWR", syscall.SIGPWR}, {"SIGQUIT", syscall.SIGQUIT},
	{"SIGSEGV", syscall.SIGSEGV}, {"SIGSTOP", syscall.SIGSTOP}, {"SIGSYS", syscall.SIGSYS},
	{"SIGTERM", syscall.SIGTERM}, {"SIGTRAP", syscall.SIGTRAP}, {"SIGTSTP", syscall.SIGTSTP},
	{"SIGTTIN", syscall.SIGTTIN}, {"SIGTTOU", syscall.SIGTTOU}, {"SIGURG", syscall.SIGURG},
	{"SIGUSR1", syscall.SIGUSR1}, {"SIGUSR2", syscall.SIGUSR2}, {"SIGVTALRM", syscall.SIGVTALRM},
	{"SIGWINCH", syscall.SIGWINCH}, {"SIGXCPU", syscall.SIGXCPU}, {"SIGXFSZ", syscall.SIGXFSZ},
}

func signalNames() []string {
	names := []string{"SIGRTMIN+3", "SIGRTMIN+4"}
	for _, s := range signals {
		names = append(names, s.name)
	}
	return names
}

// Signal finds a signal by its name, with or without "SIG", also "SIGRTMIN+3"
// and "SIGRTMAX-1". It gives the name with "SIG".
func Signal(name string) (full string, number syscall.Signal, ok bool) {
	full = "SIG" + strings.TrimPrefix(name, "SIG")
	for _, s := range signals {
		if s.name == full {
			return full, s.number, true
		}
	}
	if rest, found := strings.CutPrefix(full, "SIGRTMIN"); found {
		return realTime(full, rest, "+", firstRealTime, 1)
	}
	if rest, found := strings.CutPrefix(full, "SIGRTMAX"); found {
		return realTime(full, rest, "-", lastRealTime, -1)
	}
	return "", 0, false
}

// realTime reads "" or an offset after its sign.
func realTime(full, rest, sign string, base, step int) (string, syscall.Signal, bool) {
	if rest == "" {
		return full, syscall.Signal(base), true
	}
	digits, found := strings.CutPrefix(rest, sign)
	n, err := strconv.Atoi(digits)
	if !found || err != nil || strconv.Itoa(n) != digits || n > lastRealTime-firstRealTime {
		return "", 0, false
	}
	return full, syscall.Signal(base + step*n), true
}
