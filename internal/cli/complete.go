package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cocker/cocker/config"
	"github.com/cocker/cocker/image"
	"github.com/cocker/cocker/image/archive"
	"github.com/cocker/cocker/internal/paths"
)

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completeContainers offers the containers that are not on the line yet.
func completeContainers(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, _ := config.List(paths.ConfigDirs())
	return without(names, args), noFiles
}

// completeImages offers the images that are not on the line yet.
func completeImages(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return without(imageNames(), args), noFiles
}

// completeImageAt offers images as argument number n, and files after it.
func completeImageAt(n int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) < n:
			return nil, noFiles
		case len(args) == n:
			return imageNames(), noFiles
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

func imageNames() []string {
	list, _ := image.Open(paths.State).List()
	var names []string
	for _, i := range list {
		if i.Reference != "" {
			names = append(names, i.Reference)
		}
	}
	return names
}

func without(all, used []string) []string {
	var rest []string
	for _, name := range all {
		if !strings.Contains("\n"+strings.Join(used, "\n")+"\n", "\n"+name+"\n") {
			rest = append(rest, name)
		}
	}
	return rest
}

// completeFlags offers the values of flags that have only a few.
func completeFlags(c *cobra.Command) {
	for flag, values := range map[string][]string{
		"init":              {string(config.InitCocker), string(config.InitNone), string(config.InitImage)},
		"pull":              {string(config.PullMissing), string(config.PullAlways), string(config.PullNever)},
		"health-on-failure": {string(config.RestartUnhealthy), string(config.ReportUnhealthy)},
	} {
		// The only error is a flag that does not exist, which a test would see.
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, noFiles))
	}
	_ = c.RegisterFlagCompletionFunc("network", completeNetworkFlag)
	_ = c.RegisterFlagCompletionFunc("join", func(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return completeNetworks(c, nil, word)
	})
}

// completeSet offers a container, and then keys.
func completeSet(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return completeContainers(c, args, word)
	}
	if strings.Contains(word, "=") {
		return nil, cobra.ShellCompDirectiveDefault // the value may be a path
	}
	var keys []string
	for _, key := range config.Keys() {
		keys = append(keys, key+"=")
	}
	return keys, noFiles | cobra.ShellCompDirectiveNoSpace
}

// completePublished offers the ports that the container of the line publishes.
func completePublished(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, noFiles
	}
	c, err := config.Load(paths.ConfigDirs(), args[0])
	if err != nil {
		return nil, noFiles
	}
	return config.FormatPorts(c.Network.Ports), noFiles
}

// completePush offers images for both arguments: the second is often the name of
// another version.
func completePush(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, noFiles
	}
	return without(imageNames(), args), noFiles
}

// completeImport offers files, the trees of machines, and the names that there are.
func completeImport(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 1:
		return imageNames(), noFiles
	case len(args) > 1 || !strings.HasPrefix("machine:", word[:min(len(word), len("machine:"))]) || word == "":
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, name := range archive.Machines() {
		names = append(names, "machine:"+name)
	}
	return names, cobra.ShellCompDirectiveDefault
}
