package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// AuthFiles are the files where credentials are looked for, the first one that has
// some for a registry counts. They are what "podman login", "skopeo login" and
// "docker login" write, and cocker's own. With $REGISTRY_AUTH_FILE only that one is
// read, as by the first two.
func AuthFiles(env func(string) string) []string {
	if own := env("REGISTRY_AUTH_FILE"); own != "" {
		return []string{own}
	}
	var files []string
	add := func(dir string, names ...string) {
		if dir != "" {
			files = append(files, filepath.Join(append([]string{dir}, names...)...))
		}
	}
	add(env("XDG_RUNTIME_DIR"), "containers", "auth.json")
	add("/run/containers", strconv.Itoa(os.Getuid()), "auth.json") // where there is no XDG_RUNTIME_DIR
	add("/etc/cocker", "auth.json")
	configHome := env("XDG_CONFIG_HOME")
	if home := env("HOME"); configHome == "" && home != "" {
		configHome = filepath.Join(home, ".config")
	}
	add(configHome, "containers", "auth.json")
	if docker := env("DOCKER_CONFIG"); docker != "" {
		add(docker, "config.json")
	} else if home := env("HOME"); home != "" {
		add(home, ".docker", "config.json")
	}
	return files
}

// credentials are what is known for a registry, and from where.
type credentials struct {
	authn.Authenticator

	file string // "": none were found
}

// lookUp finds the credentials for a repository of a registry. Files of podman can
// have some for a part of a registry: registry.example.com/team.
func lookUp(files []string, host, repository string) (credentials, error) {
	for _, path := range files {
		file, err := readAuthFile(path)
		if errors.Is(err, fs.ErrNotExist) && path != os.Getenv("REGISTRY_AUTH_FILE") {
			continue
		}
		if err != nil {
			return credentials{}, fmt.Errorf("credentials for %s: %w", host, err)
		}
		found, err := lookUpIn(file, host, repository)
		if err != nil {
			return credentials{}, fmt.Errorf("credentials for %s, by %s: %w", host, path, err)
		}
		if found != nil {
			return credentials{authn.FromConfig(*found), path}, nil
		}
	}
	return credentials{Authenticator: authn.Anonymous}, nil
}

func readAuthFile(path string) (*configfile.ConfigFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, err := config.LoadFromReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no file of credentials as \"podman login\" or \"docker login\" write it: %w", path, err)
	}
	return file, nil
}

func lookUpIn(file *configfile.ConfigFile, host, repository string) (*authn.AuthConfig, error) {
	for prefix := repository; prefix != ""; prefix = parent(prefix) {
		for _, alias := range aliases(host) {
			if c := convert(file.AuthConfigs[alias+"/"+prefix]); c != nil {
				return c, nil
			}
		}
	}
	// The library would take what is for a part of a registry for the whole.
	maps.DeleteFunc(file.AuthConfigs, func(key string, _ types.AuthConfig) bool {
		return strings.Contains(key, "/") && !strings.Contains(key, "://")
	})
	for _, alias := range aliases(host) {
		found, err := file.GetAuthConfig(alias) // asks credential helpers too
		if err != nil {
			return nil, err
		}
		if c := convert(found); c != nil {
			return c, nil
		}
	}
	return nil, nil
}

func parent(repository string) string {
	return repository[:max(strings.LastIndexByte(repository, '/'), 0)]
}

// aliases are the names by which files know a registry. Docker's own has several:
// "docker login" writes the first one.
func aliases(host string) []string {
	if isDockerHub(host) {
		return []string{authn.DefaultAuthKey, "docker.io", "index.docker.io", "registry-1.docker.io"}
	}
	return []string{host}
}

func convert(c types.AuthConfig) *authn.AuthConfig {
	if c.Username == "" && c.Password == "" && c.Auth == "" && c.IdentityToken == "" && c.RegistryToken == "" {
		return nil
	}
	return &authn.AuthConfig{Username: c.Username, Password: c.Password, Auth: c.Auth, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
}
