package launch

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/handoff"
)

// makePlan decides what cocker-init does. The topmost image says how the
// container runs, except for the environment, which all images add to.
func makePlan(c *config.Container, images []*image.Image, foreground bool) (*handoff.Plan, error) {
	top := images[len(images)-1].Config
	command := commandLine(c, &top)
	if main := mainProcess(c); main != nil && main.Command != nil {
		command = main.Command
	}
	boot := c.Init == config.InitImage
	if len(command) == 0 && !boot {
		return nil, fmt.Errorf("neither the container's file nor image %s says what to run; set command%s in %s", c.Images[len(c.Images)-1], orMain(c), c.Sources[0])
	}
	signal, err := stopSignal(firstOf(c.StopSignal, top.StopSignal, "SIGTERM"))
	if err != nil {
		return nil, err
	}
	interactive := foreground && isTerminal(0)
	plan := &handoff.Plan{
		Hostname:      c.Hostname,
		Command:       command,
		User:          firstOf(c.User, top.User),
		WorkDir:       firstOf(c.WorkDir, top.WorkDir, "/"),
		StopSignal:    signal,
		Capabilities:  capabilitiesOf(c),
		OwnUsers:      c.Security.OwnUsers(),
		Privileged:    c.Security.Privileged,
		Sysctls:       sysctls(c),
		AppArmor:      c.Security.AppArmorProfile,
		SELinux:       c.Security.SELinuxLabel,
		Exec:          c.Init != config.InitCocker,
		Boot:          boot,
		Foreground:    foreground,
		Terminal:      interactive,
		OwnNetwork:    c.OwnNetwork(),
		HasSys:        !c.OwnNetwork(),
		Shared:        c.Pod != "",
		Autologin:     c.Autologin,
		ForwardNotify: c.NotifyReady && c.Init == config.InitCocker && !foreground,
	}
	if boot { // whatever the image says of its command
		plan.User, plan.WorkDir = "", "/"
		plan.StopSignal = int(killSignal(c))
	}
	if err := planSeccomp(plan, c); err != nil {
		return nil, err
	}
	plan.Health = health(c)
	plan.Environment = environment(c, images, interactive)
	planProcesses(plan, c)
	return plan, nil
}

func sysctls(c *config.Container) (lines []string) {
	for _, s := range c.Sysctls {
		lines = append(lines, s.Name+"="+s.Value)
	}
	return lines
}

// commandLine joins entry point and command as Docker and Podman do: a command
// of the file replaces the image's command, not its entry point; an entry point
// of the file replaces both of the image's.
func commandLine(c *config.Container, top *image.Config) []string {
	entrypoint, command := top.Entrypoint, top.Command
	if c.Entrypoint != nil {
		entrypoint, command = c.Entrypoint, nil
	}
	if c.Command != nil {
		command = c.Command
	}
	return slices.Concat(entrypoint, command)
}

// environment is the command's environment, sorted by name so that it is the
// same at every start; the file wins over the images, a higher image over a lower.
func environment(c *config.Container, images []*image.Image, terminal bool) []string {
	values := map[string]string{
		"PATH":           "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"container":      "cocker", // systemd's container interface
		"container_uuid": machineID(c.Name).uuid(),
	}
	if terminal {
		values["TERM"] = firstOf(os.Getenv("TERM"), "xterm")
	}
	for _, image := range images {
		for _, variable := range image.Config.Environment {
			name, value, _ := strings.Cut(variable, "=")
			values[name] = value
		}
	}
	for _, variable := range c.Environment {
		values[variable.Name] = variable.Value
	}
	if c.NotifyReady && len(c.Processes) == 0 || c.Init == config.InitImage { // with several, init sets it for each
		values["NOTIFY_SOCKET"] = handoff.NotifySocket
	}
	if len(c.Credentials) > 0 {
		values[handoff.CredentialsVariable] = handoff.Credentials
	}
	return sortedVariables(values)
}

func sortedVariables(values map[string]string) []string {
	variables := make([]string, 0, len(values))
	for name, value := range values {
		variables = append(variables, name+"="+value)
	}
	slices.Sort(variables)
	return variables
}

// stopSignal reads a signal as images and TOML files write it: a name with or
// without SIG, RTMIN+n, or a number.
func stopSignal(text string) (int, error) {
	if number, err := strconv.Atoi(text); err == nil && number > 0 && number <= 64 {
		return number, nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if offset, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok {
		if n, err := strconv.Atoi(offset); err == nil && n >= 0 && n <= 30 {
			return realTimeMinimum + n, nil
		}
	}
	if signal := unix.SignalNum(name); signal != 0 {
		return int(signal), nil
	}
	return 0, fmt.Errorf("stop signal %q is unknown; set stop_signal in the container's file", text)
}

// realTimeMinimum is SIGRTMIN of the C library, which keeps two for itself
// (signal(7)).
const realTimeMinimum = 34

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// terminal is the path of the caller's terminal, which the container gets as
// /dev/console.
func terminal(plan *handoff.Plan) string {
	if !plan.Terminal {
		return ""
	}
	return terminalPath(0)
}

// terminalPath is where a terminal is in the host's /dev, by which another container's would be
// another: each has a devpts of its own, whose first terminal is /dev/pts/0 in there
// (CVE-2025-52565 was a console at a path that was not looked at).
func terminalPath(fd int) string {
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return ""
	}
	var open, there unix.Stat_t
	if unix.Fstat(fd, &open) != nil || unix.Stat(name, &there) != nil || open.Dev != there.Dev || open.Ino != there.Ino {
		return ""
	}
	return name
}
