package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/agent"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/internal/render"
	"github.com/cocker/cocker/internal/template"
)

// Rendered is what became of a template.
type Rendered = render.Result

// Render fills in the templates of a container, running or not, as its file has them now.
// Without write it only tells what would change.
func Render(ctx context.Context, container string, write bool, note func(string)) ([]Rendered, error) {
	c, err := config.Load(paths.ConfigDirs(), container)
	if err != nil || len(c.Templates) == 0 {
		return nil, err
	}
	files, err := Reach(ctx, container, Access{Write: write, Mounts: true, Note: note})
	if err != nil {
		return nil, err
	}
	defer files.Close()
	if write {
		lock, err := lockRendering(container)
		if err != nil {
			return nil, err
		}
		defer lock.Close()
	}
	jobs, err := renderJobs(c, addressOf(c))
	if err != nil {
		return nil, err
	}
	return render.Run(ctx, agent.Tree{Root: files.Root, IDBase: files.IDBase, Lock: files.Lock}, write, jobs)
}

// lockRendering makes those wait who fill in the templates of the same container: the name
// that a file has until it is whole is always the same. Nobody but root can open what is
// locked, and nothing is left.
func lockRendering(container string) (*os.File, error) {
	lock, err := os.Open(idRecord(container))
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %q: %w", idRecord(container), err)
	}
	return lock, nil
}

// addressOf is the address that a container has, or will have because its file says so.
func addressOf(c *config.Container) netip.Addr {
	state, err := ReadState(c.Name)
	if err != nil || !state.Running() {
		return c.Network.Primary().Address
	}
	return addressIn(state.Address)
}

// fillIn returns what fills in the templates before the container's first process is
// there; nil if there are none.
func (l *launcher) fillIn() (func(root *os.File) error, error) {
	if len(l.container.Templates) == 0 {
		return nil, nil
	}
	jobs, err := renderJobs(l.container, l.address())
	if err != nil {
		return nil, err
	}
	return func(root *os.File) error {
		// systemd kills both, if it must: they are in one cgroup.
		_, err := render.Run(context.Background(), agent.Tree{Root: root, IDBase: l.idBase}, true, jobs)
		return err
	}, nil
}

// signalLeader sends a signal to PID 1 of a container, which hands it on to the command.
func signalLeader(container, name string) error {
	state, err := ReadState(container)
	if err != nil || state.Leader == 0 {
		return fmt.Errorf("%s is not running", container)
	}
	pidfd, err := unix.PidfdOpen(state.Leader, 0)
	if err != nil {
		return fmt.Errorf("open PID 1 of %s: %w", container, err)
	}
	defer unix.Close(pidfd)
	if !state.Running() { // the number may have become another's before the pidfd was open
		return fmt.Errorf("%s is not running", container)
	}
	_, number, _ := config.Signal(name)
	if err := unix.PidfdSendSignal(pidfd, number, nil, 0); err != nil {
		return fmt.Errorf("send %s to PID 1 of %s: %w", name, container, err)
	}
	return nil
}

// renderJobs collects what the templates of a container need of the host. Every problem
// of every template is told at once.
func renderJobs(c *config.Container, address netip.Addr) ([]render.Job, error) {
	var (
		jobs []render.Job
		errs []error
	)
	for i := range c.Templates {
		job, err := renderJob(c, &c.Templates[i], address)
		jobs, errs = append(jobs, job), append(errs, err)
	}
	return jobs, errors.Join(errs...)
}

func renderJob(c *config.Container, t *config.Template, address netip.Addr) (job render.Job, err error) {
	job = render.Job{Name: t.Source, Source: t.Source, Target: t.Target}
	if t.Mode != 0 {
		job.Mode = &t.Mode
	}
	if t.Owner != nil {
		job.UID, job.GID = &t.Owner.UID, &t.Owner.GID
	}
	if t.HostSource != "" {
		job.Name = t.HostSource
		if job.Text, job.Meta.Mode, err = readHost(t.HostSource); err != nil {
			return job, fmt.Errorf("host_source: %w", err)
		}
	}
	job.Values, err = templateValues(c, t, address)
	return job, err
}

// fileValues are the values of the keys of a template, but for its credentials.
func fileValues(c *config.Container, t *config.Template, address netip.Addr) (template.Values, error) {
	values := template.Values{}
	if t.Map != "" {
		text, _, err := readHost(t.Map)
		if err != nil {
			return nil, fmt.Errorf("map: %w", err)
		}
		if values, err = template.ParseMap(t.Map, text); err != nil {
			return nil, err
		}
	}
	for _, v := range t.Values {
		values[v.Key] = []byte(v.Value)
	}
	values[config.OwnKeys+"name"] = []byte(c.Name)
	values[config.OwnKeys+"hostname"] = []byte(c.Hostname)
	if address.IsValid() {
		values[config.OwnKeys+"address"] = []byte(address.String())
	}
	return values, nil
}

// templateValues are the values of the keys of a template.
func templateValues(c *config.Container, t *config.Template, address netip.Addr) (template.Values, error) {
	values, err := fileValues(c, t, address)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, v := range t.Credentials {
		text, err := credentialText(c, v.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("template of %s, ${%s}: %w", t.Target, v.Key, err))
			continue
		}
		// One newline at the end is an editor's.
		values[v.Key] = []byte(strings.TrimSuffix(string(text), "\n"))
	}
	return values, errors.Join(errs...)
}

// readHost reads a file of the host that the container's file names.
func readHost(path string) (text []byte, mode uint32, err error) {
	fd, err := linux.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, 0, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%q is no regular file", path)
	}
	text, err = io.ReadAll(io.LimitReader(file, template.MaxSize+1))
	if err == nil && len(text) > template.MaxSize {
		err = fmt.Errorf("%q: %w", path, template.ErrTooLarge)
	}
	return text, uint32(info.Mode().Perm()), err
}

// CheckTemplates tells what is wrong with the files of the host that the templates of a
// container need; a template in an image is not looked at.
func CheckTemplates(c *config.Container) error {
	var errs []error
	for i := range c.Templates {
		t := &c.Templates[i]
		values, err := fileValues(c, t, netip.IPv4Unspecified())
		if err == nil {
			err = checkSource(t, values)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func checkSource(t *config.Template, values template.Values) error {
	if t.HostSource == "" {
		return nil
	}
	text, _, err := readHost(t.HostSource)
	if err != nil {
		return fmt.Errorf("host_source: %w", err)
	}
	for _, v := range t.Credentials {
		values[v.Key] = nil
	}
	_, err = template.Expand(t.HostSource, text, values)
	return err
}
