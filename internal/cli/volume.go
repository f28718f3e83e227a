package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/volume"
)

func volumeCommand(s *streams) *cobra.Command {
	command := &cobra.Command{
		Use:   "volume",
		Short: "List, limit, save and remove volumes",
		Long: `A volume is data with a name, which containers mount and which outlives them:
a [[mount]] of type "volume" in a container's file, or "cocker run -v NAME:TARGET".
The first container that is started with a new name makes the volume, with what
its image has there. See cocker.toml(5), VOLUMES.`,
		Args: func(c *cobra.Command, args []string) error {
			return fmt.Errorf("say what to do: ls, inspect, create, set, rm, export or import (see \"%s --help\")", c.CommandPath())
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	for _, add := range []func(*streams) *cobra.Command{
		volumeListCommand, volumeInspectCommand, volumeCreateCommand, volumeSetCommand, volumeRemoveCommand,
		volumeExportCommand, volumeImportCommand,
	} {
		command.AddCommand(add(s))
	}
	return command
}

func volumes() *volume.Store { return volume.Open(paths.State, launch.VolumeUsers) }

// completeVolumes offers the volumes that are not on the line yet.
func completeVolumes(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, _ := volumes().Names()
	return without(names, args), noFiles
}

// completeVolume offers the volumes as the only argument.
func completeVolume(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return completeVolumes(c, args, word)
}

// volumeEntry is a volume as ls and inspect tell of it.
type volumeEntry struct {
	Name       string   `json:"name"`
	Size       int64    `json:"size"`            // bytes on disk
	Limit      uint64   `json:"limit,omitempty"` // bytes
	Filled     bool     `json:"filled"`          // it has content
	Containers []string `json:"containers"`      // whose files name it
	Running    []string `json:"running"`         // that have it mounted
	Directory  string   `json:"directory"`
}

func volumeEntryOf(i volume.Info, files map[string]*config.Container) (volumeEntry, error) {
	e := volumeEntry{Name: i.Name, Size: i.Size, Limit: i.Limit, Filled: i.Filled, Directory: i.Data,
		Containers: []string{}, Running: []string{}}
	for _, c := range namersOf(i.Name, files) {
		e.Containers = append(e.Containers, c.Name)
	}
	running, err := launch.VolumeUsers(i.Name)
	e.Running = append(e.Running, running...)
	return e, err
}

// namersOf are the containers whose files name a volume, by their names.
func namersOf(name string, files map[string]*config.Container) []*config.Container {
	var found []*config.Container
	for _, c := range files {
		if slices.ContainsFunc(c.Mounts, func(m config.Mount) bool { return m.Type == config.MountVolume && m.Source == name }) {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b *config.Container) int { return strings.Compare(a.Name, b.Name) })
	return found
}

func (e volumeEntry) users() string {
	users := slices.Concat(e.Containers, e.Running)
	slices.Sort(users)
	return strings.Join(slices.Compact(users), ",")
}

func (e volumeEntry) limit() string {
	if e.Limit == 0 {
		return ""
	}
	return config.FormatSize(e.Limit)
}

func volumeListCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List volumes",
		Long: `Ls lists the volumes of this host. SIZE is what their files take on the disk,
LIMIT what they may take; USED BY are the containers whose files name them, or
that run with them.`,
		Example:           "  cocker volume ls\n  cocker volume ls --json | jq -r '.[] | select(.containers == []) .name'",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return s.listVolumes(asJSON) },
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return asRoot(command)
}

func (s *streams) listVolumes(asJSON bool) error {
	list, err := volumes().List()
	files, badFiles := containerFiles()
	err = errors.Join(err, badFiles)
	entries := []volumeEntry{}
	var rows [][]string
	for _, i := range list {
		e, unknown := volumeEntryOf(i, files)
		err = errors.Join(err, unknown)
		entries = append(entries, e)
		rows = append(rows, []string{e.Name, byteSize(e.Size), e.limit(), e.users()})
	}
	if asJSON {
		return errors.Join(printJSON(s.out, entries), err)
	}
	return errors.Join(printTable(s.out, []string{"VOLUME", "SIZE", "LIMIT", "USED BY"}, rows), err)
}

func volumeInspectCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:               "inspect VOLUME",
		Short:             "Show what there is to say of a volume",
		Example:           "  cocker volume inspect db",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeVolume,
		RunE: func(_ *cobra.Command, args []string) error {
			i, err := volumes().Inspect(args[0])
			if err != nil {
				return err
			}
			files, err := containerFiles()
			e, unknown := volumeEntryOf(i, files)
			if asJSON {
				return errors.Join(printJSON(s.out, e), err, unknown)
			}
			return errors.Join(printOutline(s.out, e), err, unknown)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

func volumeCreateCommand(s *streams) *cobra.Command {
	limit := ""
	command := &cobra.Command{
		Use:   "create [flags] VOLUME",
		Short: "Make a volume before a container does",
		Long: `Create makes a volume that has no content yet: the first container that is
started with it brings that, as for a volume that a start makes. It is needed
only to set a limit before.`,
		Example:           "  cocker volume create --disk-max 10G db",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			bytes, err := diskLimit(limit)
			if err != nil {
				return err
			}
			return volumes().Create(args[0], bytes)
		},
	}
	command.Flags().StringVar(&limit, "disk-max", "infinity", "how much it may hold, a `SIZE` such as 10G")
	return asRoot(command)
}

// diskLimit reads a limit; 0 is none.
func diskLimit(text string) (uint64, error) {
	if text == "infinity" {
		return 0, nil
	}
	bytes, err := config.ParseSize(text)
	if err == nil && bytes < config.MinDisk {
		err = fmt.Errorf("--disk-max %s is too little; use %s or more", text, config.FormatSize(config.MinDisk))
	}
	return bytes, err
}

func volumeSetCommand(s *streams) *cobra.Command {
	limit := ""
	command := &cobra.Command{
		Use:   "set --disk-max SIZE VOLUME",
		Short: "Change the limit of a volume",
		Long: `Set changes at once how much a volume may hold, also while containers use it.
A container whose file has a disk_max for the volume sets it anew when it starts.
Limits need project quota on the file system of /var/lib/cocker, see
cocker.toml(5), DISK LIMITS.`,
		Example:           "  cocker volume set --disk-max 20G db\n  cocker volume set --disk-max infinity db",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeVolume,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			bytes, err := diskLimit(limit)
			if err != nil {
				return err
			}
			v, err := volumes().Hold(args[0], false)
			if err != nil {
				return err
			}
			return errors.Join(v.Limit(bytes), v.Close())
		},
	}
	command.Flags().StringVar(&limit, "disk-max", "", "how much it may hold, a `SIZE` such as 10G; \"infinity\": no limit")
	if err := command.MarkFlagRequired("disk-max"); err != nil {
		panic(err) // a flag that does not exist
	}
	return asRoot(command)
}

func volumeRemoveCommand(s *streams) *cobra.Command {
	force := false
	command := &cobra.Command{
		Use:     "rm VOLUME...",
		Aliases: []string{"remove"},
		Short:   "Remove volumes with what is in them",
		Long: `Rm removes volumes for good, without asking. One that the file of a container
names is refused unless --force is given: the next start of that container makes
a new one. One that a container has mounted is always refused. All names are
tried; the exit status is 1 if one could not be removed.`,
		Example:           "  cocker volume rm db-old\n  cocker volume rm --force db",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeVolumes,
		RunE: func(_ *cobra.Command, names []string) error {
			var errs []error
			for _, name := range names {
				errs = append(errs, removeVolume(name, force))
			}
			return errors.Join(errs...)
		},
	}
	command.Flags().BoolVarP(&force, "force", "f", false, "although the file of a container names it")
	return asRoot(command)
}

func removeVolume(name string, force bool) error {
	if !force {
		files, err := containerFiles()
		if err != nil {
			return fmt.Errorf("remove volume %s: %w; --force removes it all the same", name, err)
		}
		if namers := namersOf(name, files); len(namers) > 0 {
			return fmt.Errorf("the volume %s is named in %s; remove the mount there, or use --force", name, namers[0].Sources[0])
		}
	}
	return volumes().Remove(name)
}
