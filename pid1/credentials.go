package pid1

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cocker/cocker/internal/handoff"
)

// giveCredentials gives the container's credentials to the user of the command, whom the
// container's own /etc/passwd names: nobody else may read them, but for who may read
// everything.
func giveCredentials(plan *handoff.Plan) error {
	if !plan.Credentials {
		return nil
	}
	defer unix.Close(handoff.CredentialsFD) // the only way to change them
	id, err := lookUp(plan.User)
	if err != nil || id.uid == 0 && id.gid == 0 {
		return err
	}
	fd, err := unix.Openat(handoff.CredentialsFD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the credentials: %w", err)
	}
	dir := os.NewFile(uintptr(fd), handoff.Credentials)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range append(names, ".") { // the directory last: its owner may enter it
		if err := unix.Fchownat(handoff.CredentialsFD, name, int(id.uid), int(id.gid), 0); err != nil {
			return fmt.Errorf("give credential %s to user %d: %w", name, id.uid, err)
		}
	}
	return nil
}
