package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/linux"
	"github.com/cocker/cocker/rootfs"
	"github.com/cocker/cocker/units"
)

// credentials are those that the container sees; nil if its file has no [credentials].
func (l *launcher) credentials() ([]rootfs.Credential, error) {
	if len(l.container.Credentials) == 0 {
		return nil, nil
	}
	var (
		all  = []rootfs.Credential{}
		errs []error
		size int
	)
	for _, c := range l.container.Credentials {
		files, err := loadCredential(l.container, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("credential %s: %w", c.Name, err))
		}
		if err == nil && len(files) == 0 { // as for systemd, whose services see that it is not there
			l.options.Warn(fmt.Sprintf("credential %s: the host has no credential %q, and the container starts without it", c.Name, c.Value))
		}
		for _, f := range files {
			size += len(f.Value)
		}
		all = append(all, files...)
	}
	if size > config.MaxCredentials {
		errs = append(errs, fmt.Errorf("the credentials have %d bytes; all of a container together may have %d", size, config.MaxCredentials))
	}
	return all, errors.Join(errs...)
}

// loadCredential gives what one key of [credentials] stands for: one file or, if it loads a
// directory, one for each of its files, NAME_FILE. What systemd has loaded for the unit
// counts; a container in the foreground has none that could, and a key that is new since
// the last daemon-reload is not known to it.
func loadCredential(container *config.Container, c config.Credential) ([]rootfs.Credential, error) {
	if c.From == config.CredentialSet {
		return []rootfs.Credential{{Name: c.Name, Value: []byte(c.Value)}}, nil
	}
	files, err := readCredentials(credentialsOf(container.Name), c.Name, container.Credentials)
	if files != nil || err != nil {
		return files, err
	}
	value, err := findCredential(c)
	if value == nil || err != nil {
		return nil, err
	}
	return []rootfs.Credential{{Name: c.Name, Value: value}}, nil
}

// credentialText is the text of a credential that a template names.
func credentialText(c *config.Container, name string) ([]byte, error) {
	i := slices.IndexFunc(c.Credentials, func(o config.Credential) bool { return o.Name == name })
	if i < 0 {
		text, err := readCredential(filepath.Join(credentialsOf(c.Name), name))
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("the unit has no credential %q now; set it in [credentials], or LoadCredential= in [service], which counts from the next start after a daemon-reload", name)
		}
		return text, err
	}
	files, err := loadCredential(c, c.Credentials[i])
	if err == nil && len(files) != 1 {
		err = errors.New("it is not one file")
	}
	if err != nil {
		return nil, fmt.Errorf("credential %s: %w", name, err)
	}
	return files[0].Value, nil
}

// readCredentials reads those that systemd has loaded by a name, but for those that are keys
// themselves; nil: there are none.
func readCredentials(dir, name string, keys []config.Credential) (files []rootfs.Credential, err error) {
	value, err := readCredential(filepath.Join(dir, name))
	switch {
	case err == nil:
		return []rootfs.Credential{{Name: name, Value: value}}, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil //nolint:nilerr // the unit has no credentials
	}
	for _, e := range entries {
		isKey := func(key config.Credential) bool { return key.Name == e.Name() }
		if !strings.HasPrefix(e.Name(), name+"_") || slices.ContainsFunc(keys, isKey) {
			continue
		}
		if value, err = readCredential(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
		files = append(files, rootfs.Credential{Name: e.Name(), Value: value})
	}
	return files, nil
}

// The directories that systemd looks for a credential in by its name, after those of the
// machine (systemd.exec(5), LoadCredential=).
func credentialStores(suffix string) []string {
	return []string{"/etc/credstore" + suffix, "/run/credstore" + suffix, "/usr/local/lib/credstore" + suffix, "/usr/lib/credstore" + suffix}
}

// findCredential does what systemd does for a unit; nil: there is no credential of that
// name.
func findCredential(c config.Credential) ([]byte, error) {
	switch {
	case c.From == config.CredentialSetEncrypted:
		return decrypt(c.Name, "-", c.Value)
	case c.From == config.CredentialEncrypted && filepath.IsAbs(c.Value):
		return decrypt(c.Name, c.Value, "")
	case filepath.IsAbs(c.Value):
		return readCredential(c.Value)
	}
	dirs := append([]string{"/run/credentials/@system"}, credentialStores("")...)
	if c.From == config.CredentialEncrypted {
		dirs = append([]string{"/run/credentials/@encrypted"}, credentialStores(".encrypted")...)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, c.Value)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if c.From == config.CredentialEncrypted {
			return decrypt(c.Name, path, "")
		}
		return readCredential(path)
	}
	return nil, nil
}

// decrypt asks systemd-creds(1), which has the keys. The value is on no command line.
func decrypt(name, path, text string) ([]byte, error) {
	command := exec.Command("systemd-creds", "decrypt", "--name="+name, path, "-")
	var out, problem bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(text), &out, &problem
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("systemd-creds decrypt %s: %w: %s", path, err, strings.TrimSpace(problem.String()))
	}
	if out.Len() > config.MaxCredentials {
		return nil, fmt.Errorf("%q has more than %d bytes", path, config.MaxCredentials)
	}
	return append([]byte{}, out.Bytes()...), nil
}

// readCredential reads a file of the host; it is never nil without an error.
func readCredential(path string) ([]byte, error) {
	fd, err := linux.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%q is no regular file; a directory or socket is for a unit to load, after systemctl daemon-reload", path))
	}
	value, err := io.ReadAll(io.LimitReader(file, config.MaxCredentials+1))
	if err == nil && len(value) > config.MaxCredentials {
		err = fmt.Errorf("%q has more than %d bytes", path, config.MaxCredentials)
	}
	return value, err
}

// credentialsOf is where systemd keeps the credentials of a container's unit while it runs,
// for root to read ("Credentials" in systemd.exec(5)). $CREDENTIALS_DIRECTORY may be that
// of the unit that has called cocker.
func credentialsOf(container string) string {
	const all = "/run/credentials"
	if dir := filepath.Join(all, units.TransientService(container)); isDirectory(dir) {
		return dir
	}
	return filepath.Join(all, units.Service(container))
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
