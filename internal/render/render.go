// Package render fills in the templates of a container, which may be hostile and may
// rename and link meanwhile. The work is an agent's (package agent), which has the ids of
// the container and its root directory as the only files: template and target are paths
// of the image, and five CVEs of 2026 in a peer are such paths followed by the host's root.
// It may import internal/agent, internal/linux, internal/template and rootfs.
package render

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/agent"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/internal/template"
	"github.com/cocker/cocker/rootfs"
)

// Verb is the hidden command of this program that calls [Serve]; it has [Argument].
const (
	Verb     = "render-agent"
	Argument = "-"
)

// Job is one template.
type Job struct {
	Name   string // the template's path, for errors
	Source string // its path in the container; "": Text and Meta are the template
	Text   []byte
	Meta   rootfs.Meta // of Text
	Target string
	Values template.Values
	Mode   *uint32 // nil: the template's
	UID    *uint32 // nil: the template's
	GID    *uint32
}

// Result is what became of a job.
type Result struct {
	Target  string
	Changed bool   // or would be
	Old     []byte // without Write
	New     []byte // without Write
}

// request is all that an agent is to do.
type request struct {
	Write bool
	Jobs  []Job
}

type reply struct {
	Results []Result
	Error   string
}

// Run fills in templates in a container: all of them or, if one has a key without a value
// or cannot be read, none. Without write it only tells what would change.
func Run(ctx context.Context, tree agent.Tree, write bool, jobs []Job) ([]Result, error) {
	input, err := json.Marshal(request{write, jobs})
	if err != nil {
		return nil, err
	}
	var output bytes.Buffer
	c := agent.Command(tree, nil, Verb, Argument)
	c.Stdin, c.Stdout = bytes.NewReader(input), &output
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the agent: %w", linux.CloneError(err))
	}
	// A file of the container may be one of a FUSE file system that never answers.
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	switch err := c.Wait(); {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("fill in templates: %w", context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("fill in templates: the agent has ended: %w", err)
	}
	var r reply
	if err := json.Unmarshal(output.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("fill in templates: the agent's answer: %w", err)
	}
	if r.Error != "" {
		return r.Results, errors.New(r.Error)
	}
	return r.Results, nil
}

// Serve is the agent: it answers the one request on the standard input.
func Serve() error {
	var stat unix.Stat_t
	if err := unix.Fstat(agent.RootFD, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errors.New("it is called by cocker, not by people")
	}
	root := rootfs.RootAt(agent.RootFD)
	defer root.Close()
	if err := agent.Confine(); err != nil {
		return err
	}
	unix.Umask(0o022)
	var q request
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("it is called by cocker, not by people: %w", err)
	}
	var r reply
	var err error
	if r.Results, err = fill(root, q); err != nil {
		r.Error = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// filled is a job with its content.
type filled struct {
	*Job
	content []byte
	meta    rootfs.Meta
}

func fill(root *rootfs.Root, q request) ([]Result, error) {
	var (
		files []filled
		errs  []error
	)
	for i := range q.Jobs {
		f, err := expand(root, &q.Jobs[i])
		errs = append(errs, err)
		files = append(files, f)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	results := make([]Result, 0, len(files))
	for _, f := range files {
		result, err := f.apply(root, q.Write)
		if err != nil {
			return results, fmt.Errorf("template %s: %w", f.Name, explain(err))
		}
		results = append(results, result)
	}
	return results, nil
}

func expand(root *rootfs.Root, job *Job) (f filled, err error) {
	f = filled{Job: job, content: job.Text, meta: job.Meta}
	if job.Source != "" {
		if f.content, f.meta, err = root.ReadFile(job.Source, template.MaxSize); err != nil {
			return f, fmt.Errorf("template in the container: %w", explain(err))
		}
	}
	for _, set := range []struct{ value, to *uint32 }{{job.Mode, &f.meta.Mode}, {job.UID, &f.meta.UID}, {job.GID, &f.meta.GID}} {
		if set.value != nil {
			*set.to = *set.value
		}
	}
	f.content, err = template.Expand(job.Name, f.content, job.Values)
	return f, err
}

func (f filled) apply(root *rootfs.Root, write bool) (result Result, err error) {
	result.Target = f.Target
	if write {
		result.Changed, err = root.ReplaceFile(f.Target, f.content, f.meta)
		return result, err
	}
	old, meta, err := root.ReadFile(f.Target, template.MaxSize)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return result, err
	}
	result.Old, result.New = old, f.content
	result.Changed = err != nil || meta != f.meta || !bytes.Equal(old, f.content)
	return result, nil
}

// explain adds what the user can do about an error.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w (it is mounted read-only, or, in a container that does not run, made by its next start)", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EOVERFLOW):
		return fmt.Errorf("%w (the container's root may not do this either)", err)
	}
	return err
}
