// Package launch is what a container's ExecStart= runs: it reads the TOML file,
// assembles the root file system, clones the container's PID 1 as a child of
// systemd, gives it network and a name in machined, and is gone. It may import
// every package below the commands but generator and scope.
package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/internal/handoff"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/rootfs"
)

// Options say how a container is started.
type Options struct {
	Name       string
	Foreground bool // for `cocker run`: standard input and output are the caller's
	Caller     int  // the process that waits for a container in the foreground: this one's parent
	Warn       func(message string)
	Failed     func(reason error) // called before anything is undone: with PID 1 the unit may end, and the caller with it
}

// ErrReported is part of an error whose reason Options.Failed has been told.
var ErrReported = errors.New("the container could not be started")

// launcher is a container on its way up. Its fields are filled phase by phase.
type launcher struct {
	options    Options
	container  *config.Container
	images     []*image.Image // as the TOML file names them, lowest first
	store      *image.Lock    // keeps the layers until the overlay stands on them and the state names them
	lock       *os.File       // of the writable layer: one launcher at a time
	idBase     uint32
	connector  *connector // nil: there is nothing to connect to
	shared     []shared   // namespaces that are not its own
	state      *State
	plan       *handoff.Plan
	channel    *handoff.Launcher
	pid        int
	pidfd      int
	interfaces []int // the host ends of its network links
}

// Start starts a container and returns its PID 1, which is a child of the
// caller's parent and has run the container's command by then. After an error
// nothing of the container is left. Effects:
//   - the writable layer, the id range and the lease are made where missing;
//   - /run/cocker/state/NAME.json tells Cleanup what to undo;
//   - the container's processes run in the caller's cgroup;
//   - PID 1 is the main process of the caller's unit, if it is a Type=notify one.
func Start(ctx context.Context, options Options) (pid int, err error) {
	l := &launcher{options: options, pidfd: -1}
	defer l.unlock()
	defer l.closeShared()
	for _, phase := range []func() error{checkStreams, l.load, l.checkUnit, l.checkSecurity, l.dieOnRequest, l.resolve, l.claim} {
		if err := phase(); err != nil {
			return 0, err
		}
	}
	defer func() {
		if err != nil {
			options.Failed(err)
			err = errors.Join(ErrReported, l.undo())
		}
	}()
	for _, phase := range []func() error{l.acquire, l.spawn, l.connect} {
		if err := phase(); err != nil {
			return 0, err
		}
	}
	if err := l.introduce(ctx); err != nil {
		return 0, err
	}
	if err := l.showResources(); err != nil {
		return 0, err
	}
	return l.pid, l.run()
}

// abandoned tells whether the caller of `cocker run` has ended. PID 1 dies with it
// from Assembled on; if that was too late, nobody waits for this container.
func (l *launcher) abandoned() bool {
	return l.options.Foreground && os.Getppid() != l.options.Caller
}

// run lets the command start. PID 1 is the unit's main process before that: a
// command that ends at once would take its exit status with it otherwise.
func (l *launcher) run() error {
	if l.abandoned() {
		return errors.New("the caller has ended")
	}
	if l.plan.Announce != "" {
		if err := Notify(fmt.Sprintf("MAINPID=%d", l.pid)); err != nil {
			return err
		}
	}
	return l.channel.Proceed(l.plan)
}

// announcement is what systemd is told when the command runs.
func (l *launcher) announcement() string {
	if l.options.Foreground || os.Getenv("NOTIFY_SOCKET") == "" {
		return ""
	}
	message := "STATUS=" + reachable(l.container, l.state)
	// Of several, init knows when main is ready; where health is checked, it says so at the first success.
	if (!l.container.NotifyReady || len(l.container.Processes) > 0) && !l.container.Health.Checked() {
		message = "READY=1\n" + message
	}
	return message
}

// load reads the container's file.
func (l *launcher) load() (err error) {
	l.container, err = config.Load(paths.ConfigDirs(), l.options.Name)
	if err != nil {
		return err
	}
	if err := checkResourceView(l.container); err != nil {
		return err
	}
	return checkDisks(l.container)
}

// resolve finds the images and everything that they decide.
func (l *launcher) resolve() (err error) {
	if err := l.pulled(); err != nil {
		return err
	}
	store := image.Open(paths.State)
	if l.store, err = store.Hold(); err != nil {
		return err
	}
	for _, reference := range l.container.Images {
		found, err := store.Resolve(reference)
		if err != nil {
			return l.missing(reference, err)
		}
		_ = store.MarkUsed(found.Digest) // that a disk is read-only is not for here
		l.images = append(l.images, found)
	}
	return nil
}

// claim locks the container's data directory, so that there is one launcher at a
// time, makes sure that the container does not run yet, and makes the writable
// layer.
func (l *launcher) claim() (err error) {
	l.lock, err = lockData(l.container.Name, true)
	if err != nil {
		return err
	}
	if state, err := ReadState(l.container.Name); err == nil && state.Running() {
		return fmt.Errorf("container %s is already running: its PID 1 is process %d", l.container.Name, state.Leader)
	}
	return prepareWritable(l.container, l.images)
}

func (l *launcher) unlock() {
	if l.store != nil {
		l.store.Release()
	}
	if l.lock != nil {
		_ = l.lock.Close()
	}
	if l.pidfd >= 0 {
		_ = unix.Close(l.pidfd)
	}
}

// acquire takes what the container needs of the host: its id range and, in a
// bridge network, an address. The state is written before anything that Cleanup
// must undo exists.
func (l *launcher) acquire() (err error) {
	if err := l.takeIDs(); err != nil {
		return err
	}
	l.state = newState(l.container, l.images, l.idBase)
	if err := l.openShared(); err != nil {
		return err
	}
	if !l.container.OwnNetwork() || l.container.Network.Mode != config.NetworkBridge {
		return l.state.Write()
	}
	return l.lend()
}

// spawn assembles the root file system and clones PID 1.
func (l *launcher) spawn() (err error) {
	l.plan, err = makePlan(l.container, l.images, l.options.Foreground)
	if err != nil {
		return err
	}
	if sharedKinds(l.shared)&unix.CLONE_NEWNET != 0 { // whatever the file says: see pinNetwork
		l.plan.OwnNetwork, l.plan.HasSys = false, true
		l.plan.Capabilities &^= 1 << unix.CAP_NET_ADMIN
	}
	l.plan.Announce = l.announcement()
	credentials, err := l.credentials()
	if err != nil {
		return err
	}
	l.plan.Credentials = credentials != nil
	if l.plan.Terminal { // it is the container's now, like a virtual console
		if err := unix.Fchown(0, int(l.idBase), int(l.idBase)+rootfs.TTYGroup); err != nil {
			return fmt.Errorf("give the terminal to the container: %w", err)
		}
	}
	if err := os.MkdirAll(paths.Stage, 0o755); err != nil {
		return err
	}
	fillIn, err := l.fillIn()
	if err != nil {
		return err
	}
	userns, err := l.userNamespace()
	if err != nil {
		return err
	}
	if userns >= 0 {
		defer unix.Close(userns)
	}
	sockets, err := l.sessions()
	if err != nil {
		return err
	}
	defer sockets.close()
	child, err := spawnInit(l.spec(userns, credentials), namespacesOf{l.cloneFlags(), l.shared}, l.plan, sockets, fillIn)
	if err != nil {
		return err
	}
	l.closeShared()
	l.store.Release()
	l.pid, l.pidfd, l.channel = child.pid, child.pidfd, child.channel
	for _, note := range child.notes {
		l.options.Warn(string(note))
	}
	if l.state.LeaderStart, err = linux.ProcessStart(l.pid); err != nil {
		return fmt.Errorf("container ended at once: %w", err)
	}
	l.state.Leader = l.pid
	if err := l.state.Write(); err != nil {
		return err
	}
	return l.channel.SendPlan(l.plan)
}

// forSessions are the descriptors that init needs for sessions, and beside them; -1: none.
type forSessions struct {
	control, rescue, cgroup, kills int
	processes                      []int // from handoff.ProcessesFD on
}

func (f forSessions) close() {
	for _, fd := range append([]int{f.control, f.rescue, f.cgroup, f.kills}, f.processes...) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// sessions prepares for sessions, if there is an init that serves them.
func (l *launcher) sessions() (f forSessions, err error) {
	f = forSessions{control: -1, rescue: -1, cgroup: -1, kills: -1}
	if l.container.Init == config.InitNone {
		return f, nil
	}
	if f.control, err = listenControl(ControlSocket(l.container.Name)); err != nil {
		return f, err
	}
	f.rescue = openRescue()
	l.plan.Sessions, l.plan.Rescue = true, f.rescue >= 0
	if err = delegate(l.container, l.idBase); err == nil && l.container.Init == config.InitCocker {
		f.cgroup, err = openCgroup(l.idBase)
	}
	if err == nil && l.container.Init == config.InitCocker {
		f.kills = openKills()
		l.plan.Kills = f.kills >= 0
	}
	if err == nil && len(l.plan.Processes) > 0 {
		f.processes, err = l.forProcesses()
	}
	if err != nil {
		f.close()
	}
	return f, err
}

func (l *launcher) spec(userns int, credentials []rootfs.Credential) *rootfs.Spec {
	return &rootfs.Spec{
		Stage:         paths.Stage,
		LayerRoot:     paths.Layers,
		Layers:        layersOf(l.images),
		Writable:      writable(l.container.Name),
		IDBase:        l.idBase,
		UserNamespace: userns,
		Init:          paths.Init(),
		Mounts:        l.container.Mounts,
		VolumeStore:   volumeData{l.container, l.idBase, l.options.Warn},
		Files:         l.files(),
		Credentials:   credentials,
		HostSys:       l.container.HostNetwork(),
		SharedNetwork: sharedKinds(l.shared)&unix.CLONE_NEWNET != 0,
		SharedIPC:     l.sharedMemory(),
		NotifySocket:  notifySource(l.container),
		Terminal:      terminal(l.plan),
		Devices:       l.container.Devices,
		AllDevices:    l.container.Security.AllDevices(),
		WritableSys:   l.container.Security.AllDevices(),
		ReadOnly:      l.container.Security.ReadOnly,
		WorkDir:       l.plan.WorkDir,
		Label:         l.container.Security.SELinuxMount,
	}
}

// namespaces are those that a container has of its own, unless a pod has them.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS |
	unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// cloneFlags: with CLONE_PARENT PID 1 is systemd's own child, so that MAINPID= is
// accepted and the exit status is exact (systemd.service(5), sd_notify(3)).
func (l *launcher) cloneFlags() uintptr {
	flags := uintptr(namespaces | unix.CLONE_PARENT)
	if l.container.OwnNetwork() {
		flags |= unix.CLONE_NEWNET
	}
	if !l.container.Security.OwnUsers() {
		flags &^= unix.CLONE_NEWUSER
	}
	return flags &^ sharedKinds(l.shared)
}

// undo takes back what Start has done so far. PID 1 ends by itself, with a status
// of its own, when the channel is closed.
func (l *launcher) undo() error {
	if l.channel != nil {
		_ = l.channel.Close()
	}
	if l.pidfd >= 0 && !linux.WaitReadable(l.pidfd, endTimeout) {
		_ = unix.PidfdSendSignal(l.pidfd, unix.SIGKILL, nil, 0)
		linux.WaitReadable(l.pidfd, endTimeout)
	}
	return cleanUp(l.container.Name)
}

// endTimeout bounds the wait for PID 1, which takes its whole pid namespace with
// it.
const endTimeout = 2 * time.Second
