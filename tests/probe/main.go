// Command probe tries, from inside a container, what a container should not be able to
// do, each with the real system call, and prints what came of it: a JSON array of objects
// with "name", "result" and "detail". It is one static program, so that the very same
// tries are made in containers of cocker, Docker, Podman and systemd-nspawn.
//
// What is tried has no effect if it succeeds: a call that would has an argument that the
// kernel refuses only after it has granted the permission. Started as "probe with-key NAME
// COMMAND..." it executes a command with a new session keyring that has a key; "probe
// canary NAME" also looks for that key.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The results. What is neither refused nor allowed is a value.
const (
	refused = "refused" // the kernel or the container's root says no; detail has the error
	allowed = "allowed"
	absent  = "absent" // this kernel or this container does not have it
)

// attempt is one line of the report.
type attempt struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

func main() {
	if len(os.Args) > 3 && os.Args[1] == "with-key" {
		fail(withKey(os.Args[2], os.Args[3:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "nothing" { // the child of a try
		return
	}
	canary := "cocker-canary"
	if len(os.Args) > 2 && os.Args[1] == "canary" {
		canary = os.Args[2]
	}
	var report []attempt
	report = append(report, status()...)
	for _, t := range calls(canary) {
		report = append(report, judge(t.name, t.try()))
	}
	for _, t := range files() {
		report = append(report, judge(t.name, t.try()))
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(report); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "probe:", err)
	os.Exit(1)
}

// try is something to try.
type try struct {
	name string
	try  func() error
}

// errPassed tells that the permission was granted, whatever the call said then.
var errPassed = errors.New("passed")

func judge(name string, err error) attempt {
	switch {
	case err == nil:
		return attempt{Name: name, Result: allowed}
	case errors.Is(err, errPassed):
		return attempt{Name: name, Result: allowed, Detail: err.Error()}
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV),
		errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ESOCKTNOSUPPORT):
		return attempt{Name: name, Result: absent, Detail: err.Error()}
	}
	return attempt{Name: name, Result: refused, Detail: err.Error()}
}

// passedIf turns an error that comes after the permission check into errPassed.
func passedIf(err error, after ...unix.Errno) error {
	for _, errno := range after {
		if err == errno {
			return fmt.Errorf("%w, then: %w", errPassed, err)
		}
	}
	return err
}

// raw is a system call that this program does not look into the results of.
func raw(number uintptr, arguments ...uintptr) error {
	var a [6]uintptr
	copy(a[:], arguments)
	_, _, errno := syscall.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return errno
	}
	return nil
}

// withKey executes a command in a new session keyring with a key.
func withKey(name string, words []string) error {
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("join a session keyring: %w", err)
	}
	key, err := unix.AddKey("user", name, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
	if err != nil {
		return fmt.Errorf("add a key: %w", err)
	}
	// Whoever has it in a keyring may do all, and so may every other process that sees it.
	const everything = 0x3f3f3f3f
	if err := unix.KeyctlSetperm(key, everything); err != nil {
		return fmt.Errorf("open the key: %w", err)
	}
	return syscall.Exec(words[0], words, os.Environ())
}
