package config

// reloadSignal refuses what a command cannot be told by: signals that stop it, that it
// cannot handle, or that do not get past cocker's init.
func (b *builder) reloadSignal(e *entry) {
	name := b.signalName(e)
	switch name {
	case "":
		return
	case "SIGKILL", "SIGSTOP", "SIGTERM", "SIGINT", "SIGRTMIN+3", "SIGRTMIN+4":
		b.fail(e, nil, "%s stops a container; use what its command takes for a reload, mostly SIGHUP", name)
		return
	case "SIGCHLD", "SIGURG", "SIGPIPE", "SIGPROF", "SIGVTALRM", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL":
		b.fail(e, nil, "%s has a meaning of its own and does not get to the command; use what that takes for a reload, mostly SIGHUP", name)
		return
	}
	b.c.ReloadSignal = name
}

// reloadCommand is a program with its arguments, or a text for the container's shell.
func (b *builder) reloadCommand(e *entry) {
	before := len(b.problems)
	if s, ok := e.value.(string); !ok {
		b.c.ReloadCommand = b.arguments(e)
	} else if _, ok := b.text(e, s); ok && s != "" {
		b.c.ReloadCommand = ShellCommand(s)
	}
	if len(b.c.ReloadCommand) == 0 && len(b.problems) == before {
		b.fail(e, nil, "is empty; leave the key out if nothing is to run")
	}
}

// ShellCommand is the command that a text stands for where a text is the shell's.
func ShellCommand(text string) []string { return []string{"/bin/sh", "-c", text} }

// checkReload: a command is told by one of two ways, and cocker's init alone runs
// another one beside it.
func (b *builder) checkReload(entries []*entry) {
	e := find(entries, "", "reload_command")
	switch {
	case e == nil:
	case find(entries, "", "reload_signal") != nil:
		b.fail(e, nil, `reload_signal is set too; keep one of them`)
	case b.c.Init != InitCocker:
		b.fail(e, nil, `needs init = "cocker", which starts the command, but init is %q`, b.c.Init)
	}
}
