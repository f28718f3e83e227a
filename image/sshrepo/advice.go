package sshrepo

import (
	"fmt"
	"strings"
	"sync"
	"unicode"

	"github.com/cocker/cocker/image"
)

// adviceFor says what to do about what ssh printed. The texts are OpenSSH's, which has
// not changed them for twenty years; where none fits, its own words are all there is.
func adviceFor(text string, p image.Place) string {
	login := loginCommand(p)
	for _, known := range []struct{ text, advice string }{
		{keyChanged, `"` + login + `" shows how; if that host has a new key, and you know so from elsewhere, remove the old one with "ssh-keygen -R"`},
		{"Host key verification failed", `its key is not in known_hosts: log in once with "` + login + `" as the same user, compare the fingerprint and accept it, or write /etc/ssh/ssh_known_hosts`},
		{"Permission denied", `a key that is asked no password for must be let in there: "ssh-copy-id" puts it into authorized_keys, and "` + login + `" shows whether that works`},
		{"Too many authentication failures", `name the key in ~/.ssh/config: IdentityFile, IdentitiesOnly yes`},
		{"Connection refused", "no sshd listens there; is the port right?"},
		{"Could not resolve hostname", "neither DNS, /etc/hosts nor ~/.ssh/config has that host"},
		{"timed out", "is it running, and is the port open in its firewall?"},
		{"No route to host", "is it running, and is the port open in its firewall?"},
		{"Connection closed by", "sshd there lets no more connections in, or not this user: its journal says which"},
		{"account is currently not available", "that user has no shell there; a shell is needed"},
		{"sftp connections only", "that user has no shell there; a shell is needed"},
		{"not found", "the other side needs a shell and coreutils, or busybox"},
	} {
		if strings.Contains(text, known.text) {
			return known.advice
		}
	}
	return ""
}

const keyChanged = "REMOTE HOST IDENTIFICATION HAS CHANGED"

// loginCommand is what a user types to get there.
func loginCommand(p image.Place) string {
	words := []string{"ssh"}
	if p.Port != 0 {
		words = append(words, fmt.Sprintf("-p %d", p.Port))
	}
	if p.User != "" {
		return strings.Join(append(words, p.User+"@"+p.Host), " ")
	}
	return strings.Join(append(words, p.Host), " ")
}

// lastLines keeps the end of what a program prints as errors.
type lastLines struct {
	mu   sync.Mutex
	data []byte
}

const maxErrors = 4 << 10

// Write implements io.Writer.
func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = append(l.data, p...)
	if len(l.data) > maxErrors {
		l.data = append([]byte(nil), l.data[len(l.data)-maxErrors:]...)
	}
	return len(p), nil
}

// text is one line, without the frames that ssh draws, and without its page about a key
// that has changed.
func (l *lastLines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.Contains(string(l.data), keyChanged) {
		return keyChanged + ", and somebody may be in between"
	}
	var lines []string
	for line := range strings.Lines(string(l.data)) {
		if line = strings.TrimSpace(strings.Trim(strings.TrimSpace(line), "@")); line != "" {
			lines = append(lines, strings.TrimPrefix(line, "ssh: "))
		}
	}
	return printable(strings.Join(lines, "; "))
}

// printable is a text from elsewhere as it can be shown on a terminal, not too long.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	const most = 600
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
