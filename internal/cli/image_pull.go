package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/remote"
	"github.com/cocker/cocker/internal/paths"
)

const aboutRegistries = `
Credentials are those that "podman login", "skopeo login" and "docker login"
store, or /etc/cocker/auth.json has, in the same form; with
REGISTRY_AUTH_FILE set, only that file is read. Credential helpers work.
Mirrors, certificates and registries without TLS are set in
/etc/cocker/registries.toml, see cocker-registries.toml(5).`

const aboutSSH = `
ssh://[USER@]HOST[:PORT]/NAME[:TAG] names an image in a directory of another
machine, which needs only sshd, a shell and coreutils or busybox: the directory
cocker-images of that user's home, an OCI image layout, or the one that
registries.toml sets. It is reached by ssh(1), with its configuration, keys and
known_hosts; without a terminal ssh asks nothing, so the host must be known and
a key without a password, or an agent, let in.
`

func imagePullCommand(s *streams) *cobra.Command {
	platform, asJSON := "", false
	command := &cobra.Command{
		Use:   "pull [flags] REF...",
		Short: "Get images from registries and other machines",
		Long: `Pull gets images from registries, for this machine's platform, under the
names that are given: [REGISTRY/]NAME[:TAG] or [REGISTRY/]NAME@DIGEST. Without
a registry it is docker.io, or the default of registries.toml; without a tag
it is the tag latest, or the highest version if there is none.

Layers that are here are not fetched; one whose connection breaks off goes on
where it was. Everything is checked against its digest. When the command
returns, the images survive a power cut; if it fails, nothing is left.
` + aboutSSH + aboutRegistries,
		Example: `  cocker image pull registry.example.com/web:1.27
  cocker image pull --platform linux/arm64 alpine
  cocker image pull ssh://me@images.example.com/web`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeImages,
		RunE: func(c *cobra.Command, refs []string) error {
			p, err := remote.ParsePlatform(platform)
			if err != nil {
				return err
			}
			return s.pullImages(c.Context(), refs, p, asJSON)
		},
	}
	flags := command.Flags()
	flags.StringVar(&platform, "platform", "", "for another machine, `linux/ARCHITECTURE[/VARIANT]`")
	flags.BoolVar(&asJSON, "json", false, "print what was pulled as JSON")
	flags.SortFlags = false
	// The only error is a flag that does not exist.
	_ = command.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions(
		[]string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/ppc64le", "linux/s390x"}, noFiles))
	return asRoot(command)
}

// pullImages gets all that it can.
func (s *streams) pullImages(ctx context.Context, refs []string, p remote.Platform, asJSON bool) error {
	var errs []error
	pulled := []imageDetails{}
	for _, ref := range refs {
		err := s.transfer(func(c *remote.Client) error {
			release, err := holdPull(ctx, ref, func(string) { fmt.Fprintf(s.err, "waiting for another pull of %s\n", ref) })
			if err != nil {
				return err
			}
			defer release()
			i, err := c.Pull(ctx, image.Open(paths.State), ref, p)
			if err == nil {
				pulled = append(pulled, imageDetailsOf(i))
			}
			return err
		})
		errs = append(errs, err)
		if err == nil && !asJSON {
			_, err = fmt.Fprintln(s.out, pulled[len(pulled)-1].Reference)
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if asJSON {
		errs = append(errs, printJSON(s.out, pulled))
	}
	return errors.Join(errs...)
}

func imagePushCommand(s *streams) *cobra.Command {
	asJSON := false
	command := &cobra.Command{
		Use:   "push [flags] IMAGE [REF]",
		Short: "Give an image to a registry or another machine",
		Long: `Push gives an image to a registry or another machine, under its own name or
under the name REF. What is there is not sent again, and nothing of a push that
breaks off can be seen there. It prints the name with the digest, by which
exactly this image can be asked for.
` + aboutSSH + aboutRegistries,
		Example: `  cocker image push registry.example.com/web:1.27
  cocker image push demo:1.0 registry.example.com/demo:1.0
  cocker image push demo:1.0 ssh://me@images.example.com/demo:1.0`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completePush,
		RunE: func(c *cobra.Command, args []string) error {
			ref := ""
			if len(args) == 2 {
				ref = args[1]
			}
			return s.transfer(func(client *remote.Client) error {
				p, err := client.Push(c.Context(), image.Open(paths.State), args[0], ref)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(s.out, pushed{p.Reference, p.Digest})
				}
				_, err = fmt.Fprintf(s.out, "%s@%s\n", p.Reference, p.Digest)
				return err
			})
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print name and digest as JSON")
	return asRoot(command)
}

type pushed struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
}

// transfer runs something with a client of registries and the like, and shows how far it is.
func (s *streams) transfer(run func(*remote.Client) error) error {
	settings, err := config.LoadRegistries(paths.Registries)
	if err != nil {
		return err
	}
	t := newTransfers(s.err)
	err = run(remote.New(remote.Config{Registries: settings, Version: s.version, Progress: t.tell}))
	t.end()
	return err
}
