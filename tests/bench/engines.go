package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// engine is one way to have containers in a network of their own, with a published
// port each. All of them run the same command from the same files, see command.
type engine struct {
	name  string
	base  int                 // of its ports on the host
	files func(n int) []file  // make the n-th container known
	ready func() [][]string   // what it needs of the host: a daemon, a network
	clear func() [][]string   // takes that back
	start func(n int) command // of the n-th; nil: it is a unit
	unit  func(n int) string  // nil: it is none
	stop  func() []string     // all of them; nil: they are units
	named func(n int) string  // as its siblings call it; nil: they have no names
}

type command []string

// Containers from here on only sleep: what is measured in their networks is run from the
// host, at the port that the others serve at.
const idle = 900

// The numbers of those that traffic is between.
const (
	here    = idle + 1
	sibling = idle + 2
)

// served is what a container runs: a server at port 80 that says which one it is.
func served(n int) string {
	if n >= idle {
		return "exec sleep infinity"
	}
	return fmt.Sprintf("echo %d >/tmp/index.html && exec httpd -f -p 80 -h /tmp", n)
}

func (e engine) port(n int) int { return e.base + n }

const (
	netavark      = "podman, netavark"
	dockerBridge  = "docker, bridge"
	nspawnBridge  = "systemd-nspawn, bridge"
	cockerBridge  = "cocker, bridge"
	podmanNet     = "bench"
	nspawnLink    = "bench-nspawn"
	dockerSocket  = "/run/bench-netdocker.sock"
	podmanSubnet  = "10.77.0.0/16"
	dockerSubnet  = "10.78.0.0/16"
	nspawnGateway = "10.79.0.1"
)

func engines() []engine {
	return []engine{
		{
			name: cockerBridge, base: 11000, unit: container("net"), named: func(n int) string { return fmt.Sprint("bench-net-", n) },
			files: func(n int) []file {
				return []file{{fmt.Sprintf("/etc/cocker/containers/bench-net-%d.toml", n),
					fmt.Sprintf("image = \"demo\"\ncommand = [\"sh\", \"-c\", %q]\n[network]\nports = [\"%d:80\"]\n", served(n), 11000+n)}}
			},
		},
		{name: netavark, base: 12000, unit: service("podman"), files: unitFile("podman", podmanUnit),
			named: func(n int) string { return fmt.Sprint("bench-podman-", n) },
			ready: func() [][]string {
				return [][]string{
					{"sh", "-c", "cocker image export --format docker-archive demo | " + strings.Join(netPodman("load", "--quiet"), " ")},
					netPodman("network", "create", "--ignore", "--subnet", podmanSubnet, podmanNet),
				}
			}},
		withDaemon(),
		{name: nspawnBridge, base: 14000, unit: service("net-nspawn"), files: unitFile("net-nspawn", nspawnNetUnit),
			ready: func() [][]string {
				return [][]string{
					{"sh", "-c", fmt.Sprintf("ip link show %[1]s >/dev/null 2>&1 || ip link add %[1]s type bridge", nspawnLink)},
					{"ip", "addr", "replace", nspawnGateway + "/16", "dev", nspawnLink},
					{"ip", "link", "set", nspawnLink, "up"},
				}
			},
			clear: func() [][]string { return [][]string{{"ip", "link", "delete", nspawnLink}} }},
	}
}

func netPodman(words ...string) []string {
	return append([]string{"podman", "--root", benchDir + "/net-podman", "--runroot", "/run/bench-net-podman"}, words...)
}

// podmanUnit is what Quadlet of podman 5.4 writes for such a container, but in a directory of
// its own, as podman's default one is on the host's overlayfs, and without cgroups, for
// crun wants controllers in them, which a test host has not. That saves podman some work.
func podmanUnit(n int) string {
	run := netPodman("run", "--name", fmt.Sprint("bench-podman-", n), "--replace", "--rm", "--cgroups=disabled", "--sdnotify=conmon", "--detach",
		"--network", podmanNet, "--publish", fmt.Sprintf("%d:80", 12000+n), "demo:1.0", "sh", "-c", fmt.Sprintf("%q", served(n)))
	remove := strings.Join(netPodman("rm", "--volumes", "--force", "--ignore", "--time", "0", fmt.Sprint("bench-podman-", n)), " ")
	return fmt.Sprintf("[Service]\nType=notify\nNotifyAccess=all\nKillMode=mixed\nDelegate=yes\nEnvironment=PODMAN_SYSTEMD_UNIT=%%n\n"+
		"ExecStart=%s\nExecStop=%s\nExecStopPost=-%s\nTimeoutSec=%d\n", strings.Join(run, " "), remove, remove, int(patient.Seconds()))
}

// nspawnNetUnit gives the container its address by a command in it: the host has no
// networkd, and to wait for DHCP would take longer.
func nspawnNetUnit(n int) string {
	inside := fmt.Sprintf("ip link set host0 up && ip addr add %s/16 dev host0 && ip route add default via %s && %s", nspawnAddress(n), nspawnGateway, served(n))
	return fmt.Sprintf(`[Service]
Type=notify
ExecStart=systemd-nspawn --quiet --keep-unit --machine=bench-net-%[1]d --directory=%[2]s -U --network-bridge=%[3]s --port=tcp:%[4]d:80 --as-pid2 sh -c %[5]q
KillMode=mixed
RestartForceExitStatus=133
SuccessExitStatus=133
Slice=machine.slice
Delegate=yes
TasksMax=16384
TimeoutSec=%[6]d
`, n, netRoot(n), nspawnLink, 14000+n, inside, int(patient.Seconds()))
}

func nspawnAddress(n int) string { return fmt.Sprintf("10.79.%d.%d", 1+n/250, 1+n%250) }

// netRoot is the copy of the root that nspawn locks.
func netRoot(n int) string { return fmt.Sprintf("%s/net-root-%d", benchDir, n) }

// withDaemon is Docker with the network that a user makes, for only there containers have
// names. Its daemon finds forwarding turned on: where it does that itself it sets the
// policy of FORWARD to drop, and all others would pay with their packets.
func withDaemon() engine {
	client := func(words ...string) []string {
		return append([]string{"docker", "--host", "unix://" + dockerSocket}, words...)
	}
	name := func(n int) string { return fmt.Sprint("bench-docker-", n) }
	return engine{
		name: dockerBridge, base: 13000, named: name,
		start: func(n int) command {
			return client("run", "--detach", "--rm", "--name", name(n), "--network", podmanNet, "--publish", fmt.Sprintf("%d:80", 13000+n), "demo:1.0", "sh", "-c", served(n))
		},
		stop: func() []string {
			return []string{"sh", "-c", strings.Join(client("ps", "--all", "--quiet"), " ") + " | xargs --no-run-if-empty " + strings.Join(client("rm", "--force"), " ")}
		},
		ready: func() [][]string {
			return [][]string{
				{"sh", "-c", "systemctl is-active --quiet bench-netdocker || systemd-run --quiet --collect --unit=bench-netdocker --property=Delegate=yes --property=TimeoutStopSec=2min" +
					" dockerd --host unix://" + dockerSocket + " --data-root " + benchDir + "/net-docker --exec-root /run/bench-netdocker --pidfile /run/bench-netdocker.pid"},
				{"curl", "--silent", "--fail", "--retry", "60", "--retry-all-errors", "--retry-delay", "1", "--unix-socket", dockerSocket, "http://docker/_ping"},
				{"sh", "-c", "cocker image export --format docker-archive demo | " + strings.Join(client("load", "--quiet"), " ")},
				{"sh", "-c", strings.Join(client("network", "inspect", podmanNet), " ") + " >/dev/null 2>&1 || " +
					strings.Join(client("network", "create", "--subnet", dockerSubnet, podmanNet), " ")},
			}
		},
		clear: func() [][]string { return [][]string{{"systemctl", "stop", "bench-netdocker"}} },
	}
}

// setUp makes the host ready for an engine.
func (e engine) setUp(ctx context.Context) error { return callAll(ctx, e.ready) }

// tearDown takes that back, and with it every rule that anybody has left.
func (e engine) tearDown(ctx context.Context) error {
	return errors.Join(callAll(ctx, e.clear), call(ctx, "nft", "flush", "ruleset"))
}

func callAll(ctx context.Context, commands func() [][]string) error {
	if commands == nil {
		return nil
	}
	for _, words := range commands() {
		if err := call(ctx, words[0], words[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// up starts containers, all at once, and returns when they are started.
func (e engine) up(ctx context.Context, numbers ...int) error {
	if e.unit != nil {
		return callWithin(ctx, "systemctl", append([]string{"start"}, e.names(numbers)...)...)
	}
	failed := make([]error, len(numbers))
	var wait sync.WaitGroup
	for i, n := range numbers {
		wait.Go(func() {
			words := e.start(n)
			failed[i] = callWithin(ctx, words[0], words[1:]...)
		})
	}
	wait.Wait()
	return errors.Join(failed...)
}

// patient is the deadline of what is not measured, and of what has a deadline of its own.
const patient = 15 * time.Minute

// down stops containers, all at once.
func (e engine) down(ctx context.Context, numbers ...int) error {
	words := append([]string{"systemctl", "stop"}, e.names(numbers)...)
	if e.stop != nil {
		words = e.stop()
	}
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if err := callWithin(ctx, words[0], words[1:]...); err != nil {
		return err
	}
	if e.unit != nil { // one that was given up is not to be in the way of the next start
		_ = call(ctx, "systemctl", "reset-failed")
	}
	return nil
}

func (e engine) names(numbers []int) (all []string) {
	name := e.unit
	if name == nil {
		name = e.named
	}
	for _, n := range numbers {
		all = append(all, name(n))
	}
	return all
}

// callWithin is call without a deadline but the context's.
func callWithin(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args[:min(len(args), 3)], " "), errors.Join(err, ctx.Err()), out)
	}
	return err
}

// leader is a process in the network of the n-th container.
func (e engine) leader(ctx context.Context, n int) (process, error) {
	if e.unit != nil {
		return commandOf(ctx, e.unit(n))
	}
	var pid int
	text, err := output(ctx, "docker", "--host", "unix://"+dockerSocket, "inspect", "--format", "{{.State.Pid}}", e.named(n))
	if err == nil {
		_, err = fmt.Sscan(text, &pid)
	}
	return process(pid), err
}

// inNetwork is a command in the network of a process, with the programs of the host.
func (p process) inNetwork(words ...string) []string {
	return append([]string{"nsenter", "--net=" + p.path("ns/net")}, words...)
}

// address is the process's own, in its network. nspawn's container gives it itself a
// moment after the start.
func (p process) address(ctx context.Context) (netip.Addr, error) {
	words := p.inNetwork("ip", "-4", "-oneline", "address", "show", "scope", "global")
	for end := time.Now().Add(10 * time.Second); ; {
		text, err := output(ctx, words[0], words[1:]...)
		if err != nil {
			return netip.Addr{}, err
		}
		fields := strings.Fields(text)
		if len(fields) > 3 {
			prefix, err := netip.ParsePrefix(fields[3])
			return prefix.Addr(), err
		}
		if time.Now().After(end) {
			return netip.Addr{}, fmt.Errorf("process %d has no address", p)
		}
	}
}

// nameServer is the first one in the container's resolv.conf.
func (p process) nameServer() (string, error) {
	text, err := os.ReadFile(p.path("root/etc/resolv.conf"))
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "nameserver" {
			return fields[1], nil
		}
	}
	return "", errors.Join(err, errors.New("the container has no name server"))
}
