package tests

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// importWithAccounts makes an image that has busybox, but not its login, and accounts of
// all kinds; the passwords are "secret".
func importWithAccounts(t *testing.T, h *host.Host, name string) {
	t.Helper()
	importTree(t, h, name, `mkdir bin etc root home; cp /usr/bin/busybox bin/
		for n in sh wc id tty stty sleep env grep ls cat echo; do ln -s busybox bin/$n; done
		crypted() { perl -e 'print crypt("secret", $ARGV[0])' "$1"; }
		while read account id setting rest; do
			echo "$account:x:$id:$id::/home:${rest#* }" >>etc/passwd
			echo "$account:$(case $setting in \$*) crypted "$setting" ;; none) ;; *) echo "$setting" ;; esac):${rest%% *}" >>etc/shadow
		done <<'E'
root 0 $6$abcdefgh$ 19000:0:99999:7::: /bin/sh
yes 1001 $y$j9T$abcdefgh$ 19000:0:99999:7::: /bin/sh
five 1002 $5$abcdefgh$ 19000:0:99999:7::: /bin/sh
one 1003 $1$abcdefgh$ 19000:0:99999:7::: /bin/sh
two 1004 $2b$05$abcdefghijklmnopqrstuu 19000:0:99999:7::: /bin/sh
empty 1005 none 19000:0:99999:7::: /bin/sh
locked 1006 !$6$abcdefgh$ 19000:0:99999:7::: /bin/sh
expired 1007 $6$abcdefgh$ 19000:0:99999:7::10: /bin/sh
change 1008 $6$abcdefgh$ 0:0:99999:7::: /bin/sh
shellless 1009 $6$abcdefgh$ 19000:0:99999:7::: /usr/sbin/nologin
E
		echo 'staff:x:50:yes,nobody' >etc/group; echo 'Message of the day' >etc/motd; chmod 600 etc/shadow`)
}

// logIn answers the questions of a login.
func logIn(screen *screen, name, password string) {
	screen.t.Helper()
	screen.expect(" login: ")
	screen.say(name + "\n")
	if password != "" {
		screen.expect("Password: ")
		screen.say(password + "\n")
	}
}

func TestLogin(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importWithAccounts(t, h, "accounts")
		start(t, h, "l1", "image = \"accounts\"\ncommand = [\"/bin/sleep\", \"100000\"]\n[environment]\nSECRET = \"of the command\"\n[network]\nmode = \"none\"\n")
		for name, id := range map[string]string{"root": "uid=0", "yes": "uid=1001(yes) gid=1001 groups=50(staff)", "five": "uid=1002", "one": "uid=1003", "two": "uid=1004"} {
			cmd, screen, _ := onTerminal(t, h, "cocker", "login", "l1")
			logIn(screen, name, "secret")
			screen.expect("Message of the day", map[bool]string{true: "# ", false: "$ "}[name == "root"])
			screen.say("id; tty; echo $0 $HOME-$USER-$TERM-$SECRET-; echo fds-$(env ls /proc/self/fd | wc -l)-; stty size; exit 7\n")
			screen.expect(id, "/dev/pts/", "-sh /home-"+name+"-vt100--", "fds-4-", "33 111")
			_ = cmd.Wait()
			if cmd.ProcessState.ExitCode() != 7 {
				t.Errorf("%s: exit status %d, want 7", name, cmd.ProcessState.ExitCode())
			}
			if strings.Contains(screen.past, "secret") {
				t.Errorf("%s: the password is shown: %s", name, screen.past)
			}
		}
		h.MustRun(t, `journalctl --sync; journalctl -u cocker@l1 -o cat | grep 'login of yes on /dev/pts/' && journalctl -u cocker@l1 -o cat | grep 'Session 1: root runs: a login'`)

		cmd, screen, _ := onTerminal(t, h, "cocker", "login", "l1") // no password is none to ask for
		logIn(screen, "empty", "")
		screen.expect("$ ")
		screen.say("id; exit\n")
		screen.expect("uid=1005")
		_ = cmd.Wait()
		for name, want := range map[string]string{"expired": "has expired", "change": "must be changed", "shellless": "/usr/sbin/nologin, the shell of shellless, is not in the container"} {
			cmd, screen, _ := onTerminal(t, h, "cocker", "login", "l1")
			logIn(screen, name, "secret")
			screen.expect(want)
			if err := cmd.Wait(); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}

// Whoever gives no right password learns nothing, and three are enough.
func TestLoginRefused(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importWithAccounts(t, h, "accounts")
		start(t, h, "l2", "image = \"accounts\"\ncommand = [\"/bin/sleep\", \"100000\"]\n[network]\nmode = \"none\"\n")
		cmd, screen, _ := onTerminal(t, h, "cocker", "login", "l2")
		for name, password := range map[string]string{"root": "wrong", "my-password": "secret", "locked": "secret"} {
			logIn(screen, name, password)
			screen.expect("Login incorrect")
		}
		if err := cmd.Wait(); err == nil {
			t.Error("no error after three attempts")
		}
		h.MustRun(t, `journalctl --sync; journalctl -u cocker@l2 -o cat >/run/l2
			grep 'login of root failed on /dev/pts/' /run/l2 && grep 'login of locked failed' /run/l2 && grep 'login of an unknown user failed' /run/l2
			if grep 'my-password' /run/l2; then exit 1; fi; rm /run/l2`)
		h.MustRun(t, `cocker exec l2 /bin/sh -c 'echo down for a while >/etc/nologin'`)
		cmd, screen, _ = onTerminal(t, h, "cocker", "login", "l2")
		logIn(screen, "five", "secret")
		screen.expect("down for a while")
		if err := cmd.Wait(); err == nil {
			t.Error("/etc/nologin: no error")
		}
		cmd, screen, _ = onTerminal(t, h, "cocker", "login", "l2") // it is not for root
		logIn(screen, "root", "secret")
		screen.expect("down for a while", "# ")
		screen.say("\x04")
		if err := cmd.Wait(); err != nil {
			t.Errorf("root: %v", err)
		}
		// Nobody has a password: said at once.
		h.MustRun(t, `cocker exec l2 /bin/sh -c ': >/etc/shadow'`)
		for _, tool := range []string{"cocker", "machinectl"} {
			cmd, screen, _ = onTerminal(t, h, tool, "login", "l2")
			screen.expect("nobody can log in")
			if err := cmd.Wait(); err == nil {
				t.Errorf("%s login without a password: no error", tool)
			}
		}
	})
}

// What ends a login from outside: the escape, a terminal that goes, the container.
func TestLoginEnds(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importWithAccounts(t, h, "accounts")
		start(t, h, "l3", "image = \"accounts\"\nautologin = \"five\"\ncommand = [\"/bin/sleep\", \"100000\"]\n[network]\nmode = \"none\"\n")
		const gone = `[ "$(cocker sessions --json)" = "[]" ]; ! cocker exec l3 /bin/busybox ps | grep -v grep | grep 'sleep 9999'`
		log := func() (*host.Cmd, *screen, *os.File) {
			cmd, screen, master := onTerminal(t, h, "cocker", "login", "l3")
			screen.expect("Press ^]", "$ ")
			screen.say("id -u; sleep 9999\n")
			screen.expect("1002")
			h.WaitFor(t, eventually, "the session", `cocker sessions l3 | grep -w '(login)' && cocker exec l3 /bin/busybox ps | grep -v grep | grep 'sleep 9999'`)
			return cmd, screen, master
		}
		cmd, screen, _ := log()
		escape(screen)
		if err := cmd.Wait(); err != nil {
			t.Errorf("escape: %v", err)
		}
		h.WaitFor(t, eventually, "the end of what ran", gone)
		cmd, _, master := log()
		_ = master.Close() // the window is closed
		_ = cmd.Wait()
		h.WaitFor(t, eventually, "the end of what ran", gone)
		cmd, _, _ = log()
		h.MustRun(t, "timeout 60 systemctl stop cocker@l3")
		_ = cmd.Wait()
	})
}

func TestMachinectlLoginWithoutAProgram(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importWithAccounts(t, h, "accounts")
		for name, more := range map[string]string{"l4": "", "l5": "autologin = \"yes\"\n"} {
			start(t, h, name, "image = \"accounts\"\n"+more+"command = [\"/bin/sleep\", \"100000\"]\n[network]\nmode = \"none\"\n")
			cmd, screen, _ := onTerminal(t, h, "machinectl", "login", name)
			for round := range 2 { // a new one after each logout
				if more == "" {
					logIn(screen, "yes", "secret")
				}
				screen.expect("Message of the day", "$ ")
				screen.say(fmt.Sprintf("id -u; tty; echo in-$((%d+40)) $TERM; exit\n", round))
				screen.expect("1001", "/dev/pts/", fmt.Sprintf("in-%d vt220", round+40))
			}
			h.MustRun(t, `cocker sessions "$1" --json | jq -e '.[0] | .caller == "machinectl" and .login'`, name)
			escape(screen)
			_ = cmd.Wait()
			h.WaitFor(t, eventually, "the login's end", noSessions+name)
		}
	})
}

// Debian's login with PAM: of util-linux in 13, of shadow in 12.
func TestLoginOfDebian(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		importTree(t, h, "debian", `mkdir -p usr/bin usr/lib usr/lib64 usr/sbin etc run var root home tmp
			for d in bin lib lib64 sbin; do ln -s usr/$d $d; done; ln -s /run var/run
			cp /usr/bin/busybox usr/bin/; for n in sh id tty sleep; do ln -s busybox usr/bin/$n; done
			modules=/usr/lib/$(uname -m)-linux-gnu/security
			for f in /usr/bin/login /usr/sbin/unix_chkpwd $modules/*.so $(ldd /usr/bin/login $modules/*.so | grep -o '/[^ :]*' | sort -u); do
				f=${f%:}; mkdir -p .${f%/*}; cp -L $f .$f; done
			cp -a /etc/pam.d /etc/security /etc/login.defs etc/
			printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >etc/passwd
			printf 'root:x:0:\ntty:x:5:\nshadow:x:42:\nuser:x:1000:\n' >etc/group
			for u in root user; do echo "$u:$(openssl passwd -6 secret):19000:0:99999:7:::"; done >etc/shadow; chmod 600 etc/shadow`)
		start(t, h, "l6", "image = \"debian\"\ncommand = [\"sleep\", \"100000\"]\n[network]\nmode = \"none\"\n")
		for user, id := range map[string]string{"root": "uid=0(root)", "user": "uid=1000(user)"} {
			for _, tool := range []string{"cocker", "machinectl"} {
				cmd, screen, _ := onTerminal(t, h, tool, "login", "l6")
				logIn(screen, user, "secret")
				screen.expect(map[bool]string{true: "# ", false: "$ "}[user == "root"])
				screen.say("id; tty; exit\n")
				screen.expect(id, "/dev/pts/")
				if tool == "machinectl" {
					screen.expect("login: ")
					escape(screen)
				}
				_ = cmd.Wait()
			}
		}
		h.WaitFor(t, eventually, "the logins' end", noSessions+"l6")
	})
}
