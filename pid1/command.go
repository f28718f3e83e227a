package pid1

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// command is a program that is ready to be started.
type command struct {
	path        string
	arguments   []string
	environment []string
	identity    *identity
	files       []int        // descriptors from 3 on, for a program of our own
	ours        bool         // it is cocker-init once more, which confines what it becomes
	within      *confinement // set by confine, without which nothing but ours is started
}

// prepareCommand finds out everything about the command that can go wrong before
// the container counts as started. The working directory is the command's
// afterwards.
func prepareCommand(plan *handoff.Plan) (*command, error) {
	c, err := prepare(plan.User, plan.WorkDir, plan.Command, plan.Environment)
	if err != nil {
		return nil, err
	}
	if err := c.confine(plan); err != nil || !plan.Terminal {
		return c, err
	}
	return c, c.ownInput()
}

// ownInput gives the terminal that is the standard input to the user, as login(1) does, so
// that the user can open /dev/console.
func (c *command) ownInput() error {
	if err := unix.Fchown(0, int(c.identity.uid), -1); err != nil {
		return fmt.Errorf("give the terminal to the user: %w", err)
	}
	return nil
}

// prepare finds out about any command what prepareCommand does.
func prepare(user, workDir string, words, environment []string) (*command, error) {
	id, err := lookUp(user)
	if err != nil {
		return nil, err
	}
	if err := enterWorkDir(workDir, id); err != nil {
		return nil, err
	}
	if _, ok := lookUpVariable(environment, "HOME"); !ok {
		environment = append(environment, "HOME="+id.home)
	}
	path, err := findProgram(words[0], environment)
	if err != nil {
		return nil, err
	}
	if err := checkLoader(path); err != nil {
		return nil, err
	}
	return &command{path: path, arguments: words, environment: environment, identity: id}, nil
}

// enterWorkDir makes the working directory if it is missing, like Docker, and
// verifies that it lies inside the root: with a directory outside of it getcwd(2)
// says "(unreachable)" (CVE-2024-21626).
func enterWorkDir(dir string, id *identity) error {
	if dir == "" {
		dir = "/"
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("create working directory: %w", err)
		}
		if err := os.Chown(dir, int(id.uid), int(id.gid)); err != nil {
			return fmt.Errorf("create working directory: %w", err)
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("enter working directory %q: %w", dir, err)
	}
	if now, err := unix.Getwd(); err != nil || !strings.HasPrefix(now, "/") {
		return fmt.Errorf("working directory %q is outside of the container", dir)
	}
	return nil
}

// defaultPath is what a program is searched in if the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// findProgram looks a program up as execvp(3) does, with the command's own PATH.
func findProgram(name string, environment []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, checkProgram(name)
	}
	path, ok := lookUpVariable(environment, "PATH")
	if !ok {
		path = defaultPath
	}
	for _, dir := range strings.Split(path, ":") {
		candidate := dir + "/" + name
		if checkProgram(candidate) == nil {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("command %q is not in the container (PATH=%s)", name, path)
}

func checkProgram(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("command %q is not in the container", path)
	case err != nil:
		return fmt.Errorf("command: %w", err)
	case info.IsDir():
		return fmt.Errorf("command %q is a directory", path)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("command %q is not executable", path)
	}
	return nil
}

func lookUpVariable(environment []string, name string) (string, bool) {
	for _, variable := range environment {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// becomeCommand gives this thread everything that the command shall have, so that
// only replaceInit is left to do.
func (c *command) becomeCommand(plan *handoff.Plan) error {
	if err := labelNextProgram(plan); err != nil {
		return err
	}
	if err := limitCapabilities(ownCapabilities(plan)); err != nil {
		return err
	}
	if plan.Terminal {
		if err := takeTerminal(); err != nil {
			return err
		}
	}
	if err := c.becomeUser(); err != nil {
		return err
	}
	// A change of the effective user id has reset it (prctl(2)).
	return dieWithCaller(plan)
}

// errUnconfined would be a mistake in this package.
var errUnconfined = errors.New("the command was to be started without its confinement")

// confine puts the command in what the plan has for all that runs in the container.
func (c *command) confine(plan *handoff.Plan) (err error) {
	if !c.ours {
		c.within, err = newConfinement(plan)
	}
	return err
}

// becomeUser makes this process that of the command's user.
func (c *command) becomeUser() error {
	if c.within == nil {
		return errUnconfined
	}
	if err := c.within.limit(); err != nil {
		return err
	}
	return c.identity.assume()
}

// replaceInit makes this process the command, after becomeUser. It returns only on failure.
func (c *command) replaceInit() error {
	if err := c.within.install(); err != nil {
		return err
	}
	return c.execError(syscall.Exec(c.path, c.arguments, c.environment))
}

// assume gives this thread the identity, groups first: without root they cannot
// be set any more.
func (id *identity) assume() error {
	groups := make([]int, len(id.groups))
	for i, group := range id.groups {
		groups[i] = int(group)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setresgid(int(id.gid), int(id.gid), int(id.gid)); err != nil {
		return fmt.Errorf("set group %d: %w", id.gid, err)
	}
	if err := syscall.Setresuid(int(id.uid), int(id.uid), int(id.uid)); err != nil {
		return fmt.Errorf("set user %d: %w", id.uid, err)
	}
	return nil
}

func takeTerminal() error {
	if _, err := unix.Setsid(); err != nil && !errors.Is(err, unix.EPERM) { // EPERM: leads one already
		return fmt.Errorf("setsid: %w", err)
	}
	if err := unix.IoctlSetInt(0, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("take the terminal: %w", err)
	}
	return nil
}

// start starts the command as a child in a session of its own, and in a cgroup unless
// that is below 0. A terminal is the standard input.
func (c *command) start(terminal bool, files []int, cgroup int) (pid int, err error) {
	r, err := c.program()
	if err != nil {
		return -1, err
	}
	r.terminal, r.cgroup = terminal, cgroup
	pid, err = r.start(files)
	return pid, c.execError(err)
}

// program is the command as what can be started.
func (c *command) program() (*repeated, error) {
	r, err := newRepeated(c.path, c.arguments, c.environment, c.identity)
	if err != nil {
		return nil, c.execError(err)
	}
	if r.within = c.within; r.within == nil && !c.ours {
		return nil, errUnconfined
	}
	return r, nil
}

// execError says what an errno of execve(2) means for a file that is there.
func (c *command) execError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("execute %q: its interpreter or dynamic loader is not in the container: %w", c.path, err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("execute %q: no program for this machine, or a script without #!: %w", c.path, err)
	}
	return fmt.Errorf("execute %q: %w", c.path, err)
}
