package main

import "fmt"

// contender is one way to run a command of a busybox root.
type contender struct {
	name string
	// unit is the n-th of its services; each can run beside all others.
	unit func(n int) string
	// files make the n-th service; they are written before anything is measured.
	files func(n int) []file
	// once runs true(1) to its end and waits for that.
	once []string
	// what the command has of its own, and is checked before it is measured
	ownRoot, ownNetwork, published bool
	hostUsers                      bool // has no user namespace of its own
}

func (c contender) label() string { return c.name }

type file struct{ path, content string }

// The root file systems lie on the file system of cocker's layers: overlayfs, which
// is the root of a test host, has no idmapped mounts.
const (
	benchDir  = "/var/lib/cocker/bench"
	benchRoot = benchDir + "/root"
)

// ownRoot is the n-th copy of the root, hard links all: nspawn locks its directory.
func ownRoot(n int) string { return fmt.Sprintf("%s/root-%d", benchDir, n) }

const (
	bare      = "bare service"
	sandboxed = "sandboxed service"
	nspawn    = "systemd-nspawn"
	noNetwork = "cocker, no network"
	bridged   = "cocker, bridge+port"
)

// sandbox are the directives that come closest to a container. Without
// MountAPIVFS= it would have no /proc.
var sandbox = [...]string{"RootDirectory=" + benchRoot, "MountAPIVFS=yes", "PrivateNetwork=yes", "PrivateUsers=yes"}

func contenders() []contender {
	return []contender{
		{
			name:  bare,
			unit:  service("bare"),
			files: unitFile("bare", func(int) string { return "[Service]\nType=exec\nExecStart=/usr/bin/busybox sleep infinity\n" }),
			once:  []string{"systemd-run", "--quiet", "--wait", "--collect", "--property=Type=exec", "/usr/bin/busybox", "true"},
		},
		{
			name:    sandboxed,
			unit:    service("sandboxed"),
			files:   unitFile("sandboxed", sandboxedUnit),
			once:    sandboxedOnce(),
			ownRoot: true, ownNetwork: true,
		},
		{
			name:  nspawn,
			unit:  service("nspawn"),
			files: unitFile("nspawn", nspawnUnit),
			once: []string{"systemd-nspawn", "--quiet", "--machine=bench", "--directory=" + benchRoot,
				"-U", "--private-network", "--as-pid2", "true"},
			ownRoot: true, ownNetwork: true,
		},
		{
			name:    noNetwork,
			unit:    container("alone"),
			files:   containerFile("alone", func(int) string { return "[network]\nmode = \"none\"\n" }),
			once:    []string{"cocker", "run", "--rm", "--network", "none", "demo", "true"},
			ownRoot: true, ownNetwork: true,
		},
		{
			name: bridged,
			unit: container("bridged"),
			files: containerFile("bridged", func(n int) string {
				return fmt.Sprintf("[network]\nports = [\"%d:80\"]\n", hostPort(n))
			}),
			once:    []string{"cocker", "run", "--rm", "-p", "7999:80", "demo", "true"},
			ownRoot: true, ownNetwork: true, published: true,
		},
	}
}

// withoutInit is measured for its memory only.
func withoutInit() contender {
	return contender{
		name:    "cocker, init = \"none\"",
		unit:    container("noinit"),
		files:   containerFile("noinit", func(int) string { return "init = \"none\"\n[network]\nmode = \"none\"\n" }),
		ownRoot: true, ownNetwork: true,
	}
}

func hostPort(n int) int { return 8000 + n }

func service(name string) func(int) string {
	return func(n int) string { return fmt.Sprintf("bench-%s-%d.service", name, n) }
}

func unitFile(name string, content func(n int) string) func(int) []file {
	unit := service(name)
	return func(n int) []file {
		return []file{{"/etc/systemd/system/" + unit(n), "[Unit]\nStartLimitIntervalSec=0\n" + content(n)}}
	}
}

func sandboxedUnit(int) string {
	text := "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n"
	for _, directive := range sandbox {
		text += directive + "\n"
	}
	return text
}

func sandboxedOnce() []string {
	words := []string{"systemd-run", "--quiet", "--wait", "--collect", "--property=Type=exec"}
	for _, directive := range sandbox {
		words = append(words, "--property="+directive)
	}
	return append(words, "/bin/true")
}

// nspawnUnit is systemd-nspawn@.service, but for the image's own init.
func nspawnUnit(n int) string {
	return fmt.Sprintf(`[Service]
Type=notify
ExecStart=systemd-nspawn --quiet --keep-unit --machine=bench-%d --directory=%s -U --private-network --as-pid2 sleep infinity
KillMode=mixed
RestartForceExitStatus=133
SuccessExitStatus=133
Slice=machine.slice
Delegate=yes
TasksMax=16384
`, n, ownRoot(n))
}

func container(name string) func(int) string {
	return func(n int) string { return fmt.Sprintf("cocker@bench-%s-%d.service", name, n) }
}

func containerFile(name string, more func(n int) string) func(int) []file {
	return func(n int) []file {
		path := fmt.Sprintf("/etc/cocker/containers/bench-%s-%d.toml", name, n)
		return []file{{path, "image = \"demo\"\ncommand = [\"sleep\", \"infinity\"]\n" + more(n)}}
	}
}
