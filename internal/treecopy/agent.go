package treecopy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/cocker/cocker/internal/agent"
	"github.com/cocker/cocker/internal/linux"
)

// Verb is the hidden command of this program that calls [Serve].
const Verb = "copy-agent"

// controlFD is the descriptor of an agent's stream socket: the request comes, reports go.
// 0 is the tar that it receives, 1 the one that it sends.
const controlFD = agent.RootFD + 1

// Request is what an agent is to do; one of Send and Receive is set.
type Request struct {
	Path    string
	Send    *SendOptions    `json:",omitempty"`
	Receive *ReceiveOptions `json:",omitempty"`
}

// report is a line of an agent's.
type report struct {
	Note  string `json:",omitempty"`
	Error string `json:",omitempty"`
	Done  bool   `json:",omitempty"`
}

// Agent is a running agent.
type Agent struct {
	Stream *os.File // the other end of the tar's pipe

	process *exec.Cmd
	control *os.File
	note    func(string)
	result  chan error // what the agent says in the end
}

// Start starts an agent. It ends when its end of the stream does, also when the caller is
// killed, and then takes away what is not whole.
func Start(tree agent.Tree, request Request, note func(string)) (*Agent, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "agent"), os.NewFile(uintptr(pair[1]), "client")
	defer theirs.Close()
	input, output, err := os.Pipe()
	if err != nil {
		ours.Close()
		return nil, err
	}
	a := &Agent{control: ours, note: note, process: agent.Command(tree, []*os.File{theirs}, Verb), result: make(chan error, 1)}
	far := output
	if request.Receive != nil {
		a.Stream, far, a.process.Stdin = output, input, input
	} else {
		a.Stream, a.process.Stdout = input, output
	}
	defer far.Close()
	if err := a.process.Start(); err != nil {
		a.close()
		return nil, fmt.Errorf("start the agent: %w", linux.CloneError(err))
	}
	if err := json.NewEncoder(ours).Encode(request); err != nil {
		a.close()
		return nil, errors.Join(fmt.Errorf("send the request to the agent: %w", err), a.process.Wait())
	}
	go func() { a.result <- a.reports() }() // all the time: an agent with much to tell would wait
	return a, nil
}

func (a *Agent) close() {
	_ = a.Stream.Close()
	_ = a.control.Close()
}

// Wait closes the stream and waits for the agent's end. The error is the agent's.
func (a *Agent) Wait() error {
	_ = a.Stream.Close()
	err := <-a.result
	_ = a.control.Close()
	if ended := a.process.Wait(); err == nil && ended != nil {
		err = fmt.Errorf("the agent has ended: %w", ended)
	}
	return err
}

// ErrGone says that an agent has ended without a word.
var ErrGone = errors.New("the agent has ended before it was done")

func (a *Agent) reports() error {
	lines := json.NewDecoder(bufio.NewReader(a.control))
	for {
		var r report
		switch err := lines.Decode(&r); {
		case err != nil:
			return ErrGone
		case r.Error != "":
			return errors.New(r.Error)
		case r.Done:
			return nil
		case r.Note != "" && a.note != nil:
			a.note(r.Note)
		}
	}
}

// Serve is the agent: it answers the one request that comes.
func Serve(ctx context.Context) error {
	control := os.NewFile(controlFD, "client")
	if control == nil {
		return errors.New("it is called by cocker cp and cocker export, not by people")
	}
	var request Request
	if err := json.NewDecoder(io.LimitReader(control, 1<<20)).Decode(&request); err != nil {
		return fmt.Errorf("it is called by cocker cp and cocker export, not by people: %w", err)
	}
	out := json.NewEncoder(control)
	result := report{Done: true}
	if err := serve(ctx, request, func(text string) { _ = out.Encode(report{Note: text}) }); err != nil {
		result = report{Error: err.Error()}
	}
	return out.Encode(result)
}

func serve(ctx context.Context, request Request, note func(string)) error {
	side, err := Container(agent.RootFD)
	if err != nil {
		return err
	}
	defer side.Close()
	if err := agent.Confine(); err != nil {
		return err
	}
	switch {
	case request.Send != nil:
		request.Send.Note = note
		err = side.Send(ctx, os.Stdout, request.Path, *request.Send)
		return errors.Join(err, os.Stdout.Close())
	case request.Receive != nil:
		request.Receive.Note = note
		return side.Receive(ctx, os.Stdin, request.Path, *request.Receive)
	}
	return errors.New("the request is empty")
}
