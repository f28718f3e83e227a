package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/scope"
	"github.com/cocker/cocker/units"
)

func createCommand(s *streams) *cobra.Command {
	c, transient, asJSON := newContainer(), false, false
	command := &cobra.Command{
		Use:   "create [flags] NAME IMAGE[,IMAGE...] [COMMAND [ARG...]]",
		Short: "Write the file of a container",
		Long: `Create checks the container that the flags describe, writes it to
/etc/cocker/containers/NAME.toml and makes systemd read it, so that
"systemctl start cocker@NAME" works at once. There is a flag for every key
of cocker.toml(5) but template. A file that exists is never overwritten.

Several images, separated by commas, are stacked, the lowest first.`,
		Example: `  cocker create web demo httpd -f -p 80
  cocker create -p 8080:80 -v /srv/www:/www:ro --memory 512M \
      --wanted-by multi-user.target web demo httpd -f -p 80 -h /www
  systemctl start cocker@web`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeImageAt(1),
		RunE: func(command *cobra.Command, args []string) error {
			c.Name = args[0]
			setImage(c, args[1])
			c.Command = commandOf(args[2:])
			return create(command, s, c, transient, asJSON)
		},
	}
	command.Flags().BoolVar(&transient, "runtime", false, "write to /run/cocker: the container is gone after a reboot")
	command.Flags().BoolVar(&asJSON, "json", false, "print what was made as JSON")
	bind(c, command, append(containerFlags(), installFlags()...))
	return asRoot(command)
}

// commandOf is nil for no arguments: the image's own command.
func commandOf(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	return args
}

type created struct {
	Name string `json:"name"`
	File string `json:"file"`
	Unit string `json:"unit"`
}

func create(command *cobra.Command, s *streams, c *config.Container, transient, asJSON bool) error {
	dir := etcDir
	if transient {
		dir = runtimeDir
	}
	file := containerFile(dir, c.Name)
	text, read, err := checked(c, file)
	if err != nil {
		return err
	}
	if err := checkNetworks(read); err != nil {
		return err
	}
	if err := writeFile(s, c.Name, file, text); err != nil {
		return err
	}
	if err := reload(command, s); err != nil {
		return err
	}
	if asJSON {
		return printJSON(s.out, created{c.Name, file, units.Service(c.Name)})
	}
	fmt.Fprintf(s.out, "%s\n", file)
	if isTerminal(s.err) {
		fmt.Fprintf(s.err, "Start it with \"systemctl start cocker@%s\".\n", c.Name)
	}
	return nil
}

// writeFile writes the file of a container whose name is free. What a transient
// container of that name has left before the last boot is not for this one.
func writeFile(s *streams, name, file string, text []byte) error {
	if leftData(name) {
		release, err := holdNames()
		if err != nil {
			return err
		}
		defer release()
		if err := sweep(); err != nil {
			fmt.Fprintf(s.err, "cocker: create: warning: %v\n", err)
		}
	}
	if err := refuseTaken(name); err != nil {
		return err
	}
	return writeNew(file, text)
}

// reload makes systemd run the generator. Without a systemd, as in the making
// of a disk image, the file is all that is wanted.
func reload(command *cobra.Command, s *streams) error {
	m, err := scope.Open(command.Context())
	if errors.Is(err, scope.ErrNoSystemd) && os.Getenv("SYSTEMD_OFFLINE") != "" {
		return nil
	}
	if errors.Is(err, scope.ErrNoSystemd) {
		fmt.Fprintf(s.err, "cocker: %s: warning: %v\n", command.Name(), err)
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Reload(command.Context())
}
