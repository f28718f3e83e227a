package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/internal/paths"
	"github.com/cocker/cocker/launch"
	"github.com/cocker/cocker/scope"
)

func inspectCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "inspect NAME",
		Short: "Show everything about a container",
		Long: `Inspect shows a container as its file and all drop-ins together make it,
the state of its unit, and where its parts are.`,
		Example:           "  cocker inspect web\n  cocker inspect --json web | jq .config.network",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContainers,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := inspect(c.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.out, d)
			}
			return printOutline(s.out, d)
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return asRoot(command)
}

// details are what "cocker inspect" shows.
type details struct {
	Name     string           `json:"name"`
	State    string           `json:"state"`
	Health   string           `json:"health,omitempty"` // starting, healthy or unhealthy; status_text of the unit says why
	Files    []string         `json:"files"`
	Problems []string         `json:"problems,omitempty"` // with its file
	Open     []string         `json:"open,omitempty"`     // what of the confinement is off
	OOM      string           `json:"oom,omitempty"`      // what was killed because memory ran out
	Config   map[string]any   `json:"config"`             // as the merged file would have it
	Security *securityDetails `json:"security,omitempty"` // of the next start
	Unit     unitDetails      `json:"unit"`
	Running  *runDetails      `json:"running,omitempty"`
	Paths    pathDetails      `json:"paths"`
}

// securityDetails are with the defaults, which the file need not have.
type securityDetails struct {
	Seccomp         string `json:"seccomp"`
	NoNewPrivileges bool   `json:"no_new_privileges"`
}

func securityOf(c *config.Container) *securityDetails {
	d := &securityDetails{Seccomp: c.Seccomp, NoNewPrivileges: c.NoNewPrivileges}
	if c.Unfiltered() {
		d.Seccomp = config.SeccompNone
	} else if d.Seccomp == "" {
		d.Seccomp = config.SeccompDefault
	}
	return d
}

type unitDetails struct {
	Name        string     `json:"name"`
	ActiveState string     `json:"active_state"`
	SubState    string     `json:"sub_state"`
	FileState   string     `json:"file_state,omitempty"`
	Result      string     `json:"result,omitempty"`
	StatusText  string     `json:"status_text,omitempty"`
	Since       *time.Time `json:"since,omitempty"`
	CGroup      string     `json:"cgroup,omitempty"`
	NeedsReload bool       `json:"needs_reload"`
}

type runDetails struct {
	Leader        int                `json:"leader"`
	Images        []string           `json:"images"`
	ImageDigests  []string           `json:"image_digests"`
	IDBase        uint32             `json:"id_base"`
	Address       string             `json:"address,omitempty"`
	Ports         []string           `json:"ports,omitempty"`
	Network       string             `json:"network,omitempty"`
	HostInterface string             `json:"host_interface,omitempty"`
	Joins         []launch.JoinState `json:"joins,omitempty"` // in each network; Address, Network and HostInterface are those of the first
	Pod           string             `json:"pod,omitempty"`
}

type pathDetails struct {
	Writable string   `json:"writable"`
	Layers   []string `json:"layers,omitempty"`
}

func inspect(ctx context.Context, name string) (*details, error) {
	c, err := containerNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	return detailsOf(c)
}

// containerNamed collects all that is known of one container, and of its unit what only
// one that is asked for says.
func containerNamed(ctx context.Context, name string) (container, error) {
	m, err := scope.Open(ctx)
	if err != nil {
		return container{}, err
	}
	defer m.Close()
	all, err := collect(ctx, m)
	if err != nil {
		return container{}, err
	}
	i := slices.IndexFunc(all, func(c container) bool { return c.Name == name })
	if i < 0 {
		return container{}, cmpError(notFound(name), fmt.Errorf("no such container as %q", name))
	}
	c := all[i]
	c.Unit, err = m.Unit(ctx, c.Unit.Name)
	return c, err
}

func detailsOf(c container) (*details, error) {
	d := &details{Name: c.Name, State: c.state(), Health: c.health(), Files: []string{}, Config: map[string]any{}, Unit: unitDetailsOf(c.Unit),
		Paths: pathDetails{Writable: filepath.Join(paths.Writable, c.Name)}}
	if c.Config != nil {
		d.Files, d.Open = c.Config.Sources, c.Config.Security.Open()
		values, err := asMap(withoutSecrets(c.Config))
		if err != nil {
			return nil, err
		}
		d.Config, d.Security = values, securityOf(c.Config)
	}
	d.Problems, d.OOM = c.problems(), c.killed()
	if state := c.Run; state != nil {
		d.Running = &runDetails{state.Leader, state.Images, state.ImageDigests, state.IDBase, state.Address, c.ports(), state.Network, state.HostInterface, state.Parts(), state.Pod}
		d.Paths.Layers = state.Layers
	}
	return d, nil
}

func unitDetailsOf(u scope.Unit) unitDetails {
	d := unitDetails{Name: u.Name, ActiveState: u.ActiveState, SubState: u.SubState, FileState: u.FileState,
		Result: u.Result, StatusText: u.StatusText, CGroup: u.CGroup, NeedsReload: u.NeedsReload}
	if !u.Since.IsZero() {
		d.Since = &u.Since
	}
	return d
}

// withoutSecrets leaves out the values of credentials.
func withoutSecrets(c *config.Container) *config.Container {
	own := *c
	own.Service = slices.Clone(c.Service)
	for i, d := range own.Service {
		if name, _, found := strings.Cut(d.Value, ":"); found && strings.HasPrefix(d.Key, "SetCredential") {
			own.Service[i].Value = name + ":(not shown)"
		}
	}
	own.Credentials = slices.Clone(c.Credentials)
	for i, d := range own.Credentials {
		if d.From == config.CredentialSet {
			own.Credentials[i].Value = "(not shown)"
		}
	}
	return &own
}

// asMap gives a container the keys of its TOML file, so that there is one set of
// names for everything.
func asMap(c *config.Container) (map[string]any, error) {
	text, err := config.Encode(c)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := toml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("read what was encoded: %w", err)
	}
	return values, nil
}

// printOutline writes a value for people: one key on a line, deeper ones further
// to the right.
func printOutline(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return err
	}
	outline(w, tree, "")
	return nil
}

func outline(w io.Writer, tree any, indent string) {
	switch v := tree.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			outlineEntry(w, key+":", v[key], indent)
		}
	case []any:
		for _, element := range v {
			outlineEntry(w, "-", element, indent)
		}
	}
}

func outlineEntry(w io.Writer, label string, value any, indent string) {
	switch v := value.(type) {
	case map[string]any:
		fmt.Fprintf(w, "%s%s\n", indent, label)
		outline(w, v, indent+"  ")
	case []any:
		if len(v) == 0 {
			fmt.Fprintf(w, "%s%s none\n", indent, label)
			return
		}
		fmt.Fprintf(w, "%s%s\n", indent, label)
		outline(w, v, indent+"  ")
	default:
		fmt.Fprintf(w, "%s%s %s\n", indent, label, oneLine(fmt.Sprint(v)))
	}
}

// sortedKeys puts what identifies first.
func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool {
		if first := keys[i] == "name"; first != (keys[j] == "name") {
			return first
		}
		return keys[i] < keys[j]
	})
	return keys
}
