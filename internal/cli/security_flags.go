package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cocker/cocker/config"
)

// securityFlags have the names that they have in docker-run(1), where it has them.
func securityFlags() []containerFlag {
	return []containerFlag{
		{"cap-add", "", "CAPABILITY", "a capability more, such as NET_ADMIN, or \"all\"; may be repeated", func(c *config.Container, v string) error {
			c.Security.AddCapabilities = append(c.Security.AddCapabilities, v)
			return nil
		}},
		{"cap-drop", "", "CAPABILITY", "one less, or \"all\"; may be repeated", func(c *config.Container, v string) error {
			c.Security.DropCapabilities = append(c.Security.DropCapabilities, v)
			return nil
		}},
		{"read-only", "", "", "the root file system cannot be written to", func(c *config.Container, v string) error { c.Security.ReadOnly = v == "true"; return nil }},
		{"private-users", "", "", "=false: no user namespace, its root is the host's root", setPrivateUsers},
		{"privileged", "", "", "keep nothing from it: it can take over the host", func(c *config.Container, v string) error { c.Security.Privileged = v == "true"; return nil }},
		{"apparmor-profile", "", "NAME", "the AppArmor profile of its programs", func(c *config.Container, v string) error { c.Security.AppArmorProfile = v; return nil }},
		{"selinux-label", "", "CONTEXT", "the SELinux label of its programs", func(c *config.Container, v string) error { c.Security.SELinuxLabel = v; return nil }},
		{"selinux-mount-label", "", "CONTEXT", "that of its files", func(c *config.Container, v string) error { c.Security.SELinuxMount = v; return nil }},
		{"device", "", "SOURCE[:TARGET[:rw]]", "a device of the host; may be repeated", addHostDevice},
		{"sysctl", "", "NAME=VALUE", "a switch of its own namespaces, such as net.core.somaxconn=1024; may be repeated", setSysctl},
	}
}

func setPrivateUsers(c *config.Container, v string) error {
	c.Security.PrivateUsers = nil
	if v != "" {
		own := v == "true"
		c.Security.PrivateUsers = &own
	}
	return nil
}

func addHostDevice(c *config.Container, v string) error {
	parts := strings.Split(v, ":")
	if len(parts) > 3 {
		return fmt.Errorf("write SOURCE, SOURCE:TARGET or SOURCE:TARGET:rw")
	}
	d := config.Device{Source: parts[0], Target: parts[0], Access: "rw"}
	if len(parts) > 1 {
		d.Target = parts[1]
	}
	if len(parts) > 2 {
		d.Access = parts[2]
	}
	c.Devices = append(c.Devices, d)
	return nil
}

func setSysctl(c *config.Container, v string) error {
	name, value, given := strings.Cut(v, "=")
	if !given {
		return fmt.Errorf("write NAME=VALUE")
	}
	c.Sysctls = slices.DeleteFunc(c.Sysctls, func(s config.Sysctl) bool { return s.Name == name })
	c.Sysctls = append(c.Sysctls, config.Sysctl{Name: name, Value: value})
	return nil
}
