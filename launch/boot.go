package launch

import (
	"errors"
	"os"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/rootfs"
)

// checkUnit refuses an init of the image where no unit waits for it: nobody would send
// what stops it.
func (l *launcher) checkUnit() error {
	if l.container.Init != config.InitImage {
		return nil
	}
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return errors.New(`a container with init = "image" is started by its unit, which is to be Type=notify: systemctl start`)
	}
	return nil
}

// bootFiles are what the container interface of systemd (systemd.io/CONTAINER_INTERFACE)
// has in /run/host, beside the socket for notifications.
func bootFiles(id id128) []rootfs.File {
	files := []rootfs.File{
		whole("/run/host/container-manager", 0o444, "cocker\n"),
		whole("/run/host/container-uuid", 0o444, id.uuid()+"\n"),
	}
	for _, source := range []string{"/etc/os-release", "/usr/lib/os-release"} { // os-release(5)
		if text, err := os.ReadFile(source); err == nil {
			return append(files, whole("/run/host/os-release", 0o444, string(text)))
		}
	}
	return files
}
