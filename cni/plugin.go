package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// call is one call of a plugin.
type call struct {
	command string // the operation: ADD, DEL, CHECK, STATUS, VERSION
	env     []string
	stdin   []byte
	lock    *os.File // the plugin has it open until it ends, and so has what it starts; nil: none
}

// program is the plugin's program.
func (h Host) program(list *List, name string) (string, error) {
	for _, dir := range h.Plugins {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: there is no plugin %q in %s; install it, such as by: apt-get install containernetworking-plugins",
		list.File, name, strings.Join(h.Plugins, ", "))
}

// Bounds of what a plugin may do: of its output, and of the time that a process it has
// left behind may keep the output open.
const (
	maxOutput = 1 << 20
	waitDelay = time.Second
)

// path is what a plugin finds programs of the host in, such as iptables.
const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// run calls a plugin and returns what it has printed. The plugin is root on the host: it
// sees none of the caller's environment and descriptors.
func (h Host) run(ctx context.Context, list *List, plugin string, c call) ([]byte, error) {
	program, err := h.program(list, plugin)
	if err != nil {
		return nil, err
	}
	var stdout, stderr limited
	command := exec.CommandContext(ctx, program)
	command.Dir = "/"
	command.Env = append([]string{path, "CNI_COMMAND=" + c.command, "CNI_PATH=" + strings.Join(h.Plugins, ":")}, c.env...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(c.stdin), &stdout, &stderr
	command.WaitDelay = waitDelay
	if c.lock != nil {
		command.ExtraFiles = []*os.File{c.lock}
	}
	err = command.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it has succeeded, and left a process behind
		err = nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it has not ended in time: %w", context.Cause(ctx))
	} else if err != nil {
		err = reason(err, stdout.Bytes(), stderr.Bytes())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: plugin %s, %s: %w", list.File, program, c.command, err)
	}
	return stdout.Bytes(), nil
}

// Error is what a plugin says when it fails ("Error" of the specification).
type Error struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details"`
}

func (e *Error) Error() string {
	text := e.Msg
	if e.Details != "" {
		text += ": " + e.Details
	}
	return fmt.Sprintf("%s (code %d)", oneLine(text), e.Code)
}

// reason is why a plugin has failed: what it says in its own JSON, or else what it has
// printed as an error.
func reason(err error, stdout, stderr []byte) error {
	said := new(Error)
	if json.Unmarshal(stdout, said) == nil && said.Msg != "" {
		return said
	}
	if text := oneLine(string(stderr)); text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// oneLine keeps a plugin's words from looking like several messages.
func oneLine(text string) string {
	const most = 1000
	text = strings.Join(strings.Fields(text), " ")
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// limited keeps the beginning of what is written.
type limited struct{ bytes.Buffer }

func (l *limited) Write(data []byte) (int, error) {
	_, err := l.Buffer.Write(data[:max(0, min(len(data), maxOutput-l.Len()))])
	return len(data), err
}

// Verify tells what keeps the plugins of a configuration from working: one that is
// missing, or does not speak the configuration's version of the specification, or says
// itself that it is not ready.
func (h Host) Verify(ctx context.Context, list *List) error {
	var errs []error
	for _, p := range list.Plugins {
		errs = append(errs, h.verify(ctx, list, p))
	}
	return errors.Join(errs...)
}

func (h Host) verify(ctx context.Context, list *List, p Plugin) error {
	stdin, err := json.Marshal(map[string]string{"cniVersion": list.version()})
	if err != nil {
		return err
	}
	out, err := h.run(ctx, list, p.Type(), call{command: "VERSION", stdin: stdin})
	if err != nil {
		return err
	}
	var speaks struct {
		Versions []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal(out, &speaks); err != nil {
		return fmt.Errorf("%s: plugin %s, VERSION: %w", list.File, p.Type(), err)
	}
	for _, v := range speaks.Versions {
		if v == list.version() {
			return h.ready(ctx, list, p)
		}
	}
	return fmt.Errorf("%s: plugin %s does not speak cniVersion %s, but %s; set one of them",
		list.File, p.Type(), list.version(), strings.Join(speaks.Versions, " "))
}

// ready asks for what there is since 1.1.0.
func (h Host) ready(ctx context.Context, list *List, p Plugin) error {
	if !list.speaks(statusVersion) {
		return nil
	}
	stdin, err := list.config(p, nil, nil)
	if err == nil {
		_, err = h.run(ctx, list, p.Type(), call{command: "STATUS", stdin: stdin})
	}
	return err
}

// Installed tells which plugins of a configuration are missing, without a call of them.
func (h Host) Installed(list *List) error {
	var errs []error
	for _, p := range list.Plugins {
		_, err := h.program(list, p.Type())
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// config is what a plugin reads: its configuration with name and version of the list,
// the result of what was before, and the values of those capabilities that it has.
func (l *List) config(p Plugin, previous json.RawMessage, values map[string]any) ([]byte, error) {
	given := map[string]any{}
	for key, value := range p {
		given[key] = value
	}
	given["name"], given["cniVersion"] = l.Name, l.version()
	runtime := map[string]any{}
	for capability, value := range values {
		if p.has(capability) {
			runtime[capability] = value
		}
	}
	if len(runtime) > 0 {
		given["runtimeConfig"] = runtime
	}
	if len(previous) > 0 {
		given["prevResult"] = previous
	}
	return json.Marshal(given)
}
