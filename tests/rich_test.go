package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// richImage is the image that examples/rich tells how to make.
const richImage = "debian-ssh:13"

// prepareRich gives the host what the reader of examples/rich makes with mmdebstrap,
// and takes away the keys of the reader's own.
func prepareRich(t *testing.T, h *host.Host) {
	t.Helper()
	h.ImportMachine(t, richImage)
	h.MustRun(t, "mkdir -m 700 -p /root/.ssh")
	t.Cleanup(func() { cleanup(t, h, "rm -rf /root/.ssh /etc/cocker/rich") })
}

// The example with all that a container can have is used like a machine: by ssh to its
// own address and by machinectl at the same time, and it is there after a boot.
func TestRichExample(t *testing.T) {
	onOwnHost(t, func(t *testing.T, h *host.Host) {
		prepareRich(t, h)
		h.MustRun(t, `[ -d /run/cocker/networks ] || cocker run --rm demo true`)
		steps := readmeSteps(t, examplesDir+"/rich/README.md")
		follow(t, h, copyExample(t, h, examplesDir+"/rich"), steps[:1]) // all but the start
		before := settled(t, h)
		h.MustRun(t, `timeout 100 systemctl start cocker@rich`)
		assertRich(t, h)
		key := h.MustRun(t, `ssh-keyscan -t ed25519 10.88.0.22 2>/dev/null | grep ed25519`)
		h.MustRun(t, `timeout 60 systemctl stop cocker@rich`)
		assertProperties(t, h, "rich", map[string]string{"ActiveState": "inactive", "Result": "success"})
		assertStopped(t, h, before)

		h.Reboot(t)
		if h.State != "running" {
			t.Errorf("the system is %s: %s", h.State, h.MustRun(t, "systemctl --failed --no-legend"))
		}
		assertRich(t, h)
		if now := h.MustRun(t, `ssh-keyscan -t ed25519 10.88.0.22 2>/dev/null | grep ed25519`); now != key {
			t.Errorf("the host key was %s\nand is %s", key, now)
		}
		assertEndsWithOpenSession(t, h)
	})
}

// assertRich asserts that everything of the example works.
func assertRich(t *testing.T, h *host.Host) {
	t.Helper()
	assertProperties(t, h, "rich", map[string]string{"ActiveState": "active", "SubState": "running"})
	if got := healthOf(t, h, "rich"); got != "healthy" {
		t.Errorf("health: %s", got)
	}
	if got := h.MustRun(t, `curl -sS http://10.88.0.22/`); got != "Everything is fine, from rich at 10.88.0.22" {
		t.Errorf("the page: %q", got)
	}
	all := processes(t, h, "rich")
	for name, state := range map[string]string{"keys": "ended", "sshd": "running", "main": "running", "clock": "running"} {
		if p := all[name]; p.State != state || p.Restarts != 0 {
			t.Errorf("%s: %+v, want %s", name, p, state)
		}
	}
	// Standard input, output and error, and the exit status, as ssh(1) has them.
	r := h.Run(t, `echo in | ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new root@rich 'cat; id -un; cat /proc/1/comm; echo err >&2; exit 42'`)
	if r.ExitCode != 42 || r.Stdout != "in\nroot\ncocker-init\n" || !strings.HasSuffix(r.Stderr, "err\n") {
		t.Errorf("ssh: %+v", r)
	}
	h.MustRun(t, `echo file >/root/sent && scp -q -o BatchMode=yes -o StrictHostKeyChecking=accept-new /root/sent root@10.88.0.22:/root/got 2>/dev/null
		[ "$(cocker exec rich cat /root/got)" = file ] && rm /root/sent`)
	if r := h.Run(t, `ssh -o BatchMode=yes -o PubkeyAuthentication=no root@rich true`); r.ExitCode != 255 || !strings.Contains(r.Stderr, "Permission denied") {
		t.Errorf("ssh without the key: %+v", r)
	}
	assertSessionsAtOnce(t, h)
}

// assertSessionsAtOnce has a login by ssh and one by machined at the same time.
func assertSessionsAtOnce(t *testing.T, h *host.Host) {
	t.Helper()
	ssh, far, farMaster := onTerminal(t, h, "ssh", "root@rich")
	far.expect("rich:~# ") // bash discards what is typed before it has the terminal
	shell, near, nearMaster := onTerminal(t, h, "machinectl", "shell", "rich")
	near.expect("rich:~# ")
	useTerminal(t, far, farMaster)
	useTerminal(t, near, nearMaster)
	if got := processes(t, h, "rich")["sshd"].State; got != "running" {
		t.Errorf("sshd with two sessions: %s", got)
	}
	far.say("grep -q '/process-sshd$' /proc/self/cgroup && exit 7\n")
	if err := ssh.Wait(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("ssh: %v", err)
	}
	near.say("grep -q '/session-' /proc/self/cgroup && exit\n")
	near.expect("terminated")
	if err := shell.Wait(); err != nil {
		t.Errorf("machinectl shell: %v", err)
	}
	h.WaitFor(t, eventually, "the sessions' end", `[ "$(cocker sessions --json rich)" = "[]" ] && ! cocker exec rich busybox ps -o args | grep '^sshd.*: root\|^-bash'`)
}

// assertEndsWithOpenSession ends sshd, then the container, while somebody is logged in.
func assertEndsWithOpenSession(t *testing.T, h *host.Host) {
	t.Helper()
	for _, end := range []string{"cocker process restart rich sshd", "timeout 60 systemctl stop cocker@rich"} {
		ssh, far, _ := onTerminal(t, h, "ssh", "root@rich")
		far.expect("rich:~# ")
		h.MustRun(t, end)
		if err := ssh.Wait(); err == nil || err.Error() != "exit status 255" { // ssh(1), EXIT STATUS
			t.Errorf("ssh after %s: %v", end, err)
		}
	}
	assertProperties(t, h, "rich", map[string]string{"ActiveState": "inactive", "Result": "success"})
	h.WaitFor(t, eventually, "all to be gone", `left=$(ls /run/cocker/state /run/cocker/networks/cocker0/by-name; ip -o link show master cocker0; machinectl list --no-legend)
		[ -z "$(echo "$left" | grep -v ':$')" ] || { echo "$left"; exit 1; }`)
}
