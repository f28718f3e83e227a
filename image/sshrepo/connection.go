package sshrepo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cocker/cocker/image"
)

// connection is a shell on the other side that runs server.sh.
type connection struct {
	ctx   context.Context
	place image.Place
	nonce string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	errs  *lastLines

	closing sync.Once
	closed  bool
	ended   error // of cmd
}

const (
	maxLine  = 4 << 10  // of an answer
	maxNoise = 64 << 10 // of what a login shell's files print before
)

// errBroken says that a connection that was there is no more. What was under way can be
// tried with another one.
var errBroken = errors.New("the connection broke off")

// errTooMuch says that the other side sent what server.sh never would.
var errTooMuch = errors.New("it is no repository of images")

// dial starts the program on the other side and waits until it speaks.
func (c *Client) dial(ctx context.Context, place image.Place) (*connection, error) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // it never fails, says its package
	conn := &connection{ctx: ctx, place: place, nonce: hex.EncodeToString(nonce), errs: &lastLines{}}
	text := program(conn.nonce, c.directory(place))
	cmd, err := c.command(ctx, place, bootstrap(len(text)))
	if err != nil {
		return nil, err
	}
	conn.cmd, cmd.Stderr = cmd, conn.errs
	cmd.WaitDelay = patience // what it has started, a ProxyCommand say, may keep the pipes open
	if conn.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	conn.out = bufio.NewReaderSize(out, 256<<10)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	_, err = io.WriteString(conn.in, text) // if that fails, there is nobody to answer
	if noise, failed := conn.awaitHello(); failed != nil {
		return nil, conn.refused(errors.Join(failed, err), noise)
	}
	return conn, nil
}

// awaitHello passes over what the files of a login shell print.
func (c *connection) awaitHello() (noise string, err error) {
	hello := "cocker-images-1 " + c.nonce
	for len(noise) < maxNoise {
		line, err := c.line()
		if err != nil {
			return noise, err
		}
		if line == hello {
			return "", nil
		}
		noise += line + "\n"
	}
	return noise, fmt.Errorf("%w: what it prints at a login has more than %d bytes", errTooMuch, maxNoise)
}

// line reads a line of an answer.
func (c *connection) line() (string, error) {
	line, err := c.out.ReadSlice('\n')
	if len(line) > maxLine {
		return "", fmt.Errorf("%w: a line of more than %d bytes", errTooMuch, maxLine)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return string(bytes.TrimSuffix(line, []byte("\n"))), err
}

// answer reads the first line of an answer: a word, and what follows it.
func (c *connection) answer() (word, rest string, err error) {
	line, err := c.line()
	if err != nil {
		return "", "", c.broken(err)
	}
	if word, rest, _ = strings.Cut(line, " "); word == "error" {
		_ = c.close()
		return "", "", fmt.Errorf("there: %s", printable(rest))
	}
	return word, rest, nil
}

// expect is answer for when only one word will do.
func (c *connection) expect(wanted string) error {
	word, _, err := c.answer()
	if err == nil && word != wanted {
		return c.confused(word)
	}
	return err
}

// confused is for an answer that server.sh never gives.
func (c *connection) confused(word string) error {
	_ = c.close()
	return fmt.Errorf("it answered %q, which means nothing here", printable(word))
}

// ask sends a line. What became of it the answer tells.
func (c *connection) ask(words ...string) error {
	if _, err := io.WriteString(c.in, strings.Join(words, " ")+"\n"); err != nil {
		return c.broken(err)
	}
	return nil
}

// sized reads the answer that begins with a size, false if there is no such file.
func (c *connection) sized() (size int64, found bool, err error) {
	word, rest, err := c.answer()
	if err != nil || word == "none" {
		return 0, false, err
	}
	size, bad := strconv.ParseInt(rest, 10, 64)
	if word != "size" || bad != nil || size < 0 {
		return 0, false, c.confused(word + " " + rest)
	}
	return size, true, nil
}

// terminator is what follows a file that was sent.
func (c *connection) terminator() string { return "\nend " + c.nonce + "\n" }

// endOfFile reads the terminator.
func (c *connection) endOfFile() error {
	end := make([]byte, len(c.terminator()))
	if _, err := io.ReadFull(c.out, end); err != nil {
		return c.broken(err)
	}
	if string(end) != c.terminator() {
		_ = c.close()
		return errors.New("a file there changed while it was read")
	}
	return nil
}

// upToEnd reads a file whose size is not known, until its terminator.
func (c *connection) upToEnd(limit int) ([]byte, error) {
	var data []byte
	for end := []byte(c.terminator()); ; {
		part, err := c.out.ReadSlice('\n')
		data = append(data, part...)
		switch {
		case bytes.HasSuffix(data, end):
			return data[:len(data)-len(end)], nil
		case len(data) > limit+len(end):
			_ = c.close()
			return nil, fmt.Errorf("its index is longer than %d bytes", limit)
		case err != nil && err != bufio.ErrBufferFull:
			return nil, c.broken(err)
		}
	}
}

// send asks to store a file of known size, which goes out when the other side is ready.
func (c *connection) send(r io.Reader, size int64, words ...string) (answer string, err error) {
	if err := c.ask(append(words, strconv.FormatInt(size, 10))...); err != nil {
		return "", err
	}
	if answer, _, err = c.answer(); err != nil || answer != "go" {
		return answer, err
	}
	_, failed := io.Copy(c.in, io.LimitReader(r, size))
	if failed != nil && c.ctx.Err() != nil {
		return "", c.broken(failed)
	}
	if answer, _, err = c.answer(); failed != nil && err == nil {
		err = c.broken(failed) // what was not sent cannot have arrived
	}
	return answer, err
}

// patience is how long an end may take that the other side has to agree to.
const patience = 5 * time.Second

// close ends the connection. The program there sees the end of its input; what it still
// prints is of no interest, and may be without end.
func (c *connection) close() error {
	c.closing.Do(func() {
		c.closed = true
		kill := func() { _ = c.cmd.Process.Kill() } // it may be gone
		late := time.AfterFunc(patience, kill)
		defer late.Stop()
		_ = c.in.Close() // what is lost is lost
		if _, err := io.CopyN(io.Discard, c.out, maxNoise); err == nil {
			kill()
		}
		c.ended = c.cmd.Wait()
	})
	return c.ended
}

// broken is the error of a connection that ended where it should not.
func (c *connection) broken(err error) error {
	ended := c.close()
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	if errors.Is(err, errTooMuch) {
		return err
	}
	if text := c.errs.text(); text != "" {
		return fmt.Errorf("%w: %s", errBroken, text)
	}
	if ended != nil {
		err = fmt.Errorf("ssh: %w", ended)
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// refused is the error of a connection that never was, with what to do about it.
func (c *connection) refused(err error, noise string) error {
	ended := c.close()
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	text := c.errs.text()
	if text == "" && errors.Is(err, errTooMuch) {
		text = err.Error()
	}
	if text == "" {
		text = printable(strings.TrimSpace(noise))
	}
	if text == "" && ended != nil {
		text = ended.Error()
	}
	if text == "" {
		text = printable(err.Error())
	}
	if advice := adviceFor(text, c.place); advice != "" {
		text += " (" + advice + ")"
	}
	return errors.New(text)
}
