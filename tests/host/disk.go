package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The files of a disk's directory.
const (
	imageFile  = "disk.img"
	kernelFile = "vmlinuz"
	initrdFile = "initrd.img"
)

// imageSize is the size of a disk image: sparse, so that only its content counts.
const imageSize = "4G"

// agentPath is where the agent is in the virtual machine.
const agentPath = "/usr/local/libexec/testagent"

// BuildDisk returns the directory with a release's disk image, kernel and initrd. As
// with BuildRoot, the first call on a machine makes them, which takes about a minute.
func BuildDisk(ctx context.Context, release Release, progress io.Writer) (string, error) {
	agent, err := buildAgent(ctx)
	if err != nil {
		return "", err
	}
	hash, err := diskHash(release, agent)
	if err != nil {
		return "", err
	}
	return buildOnce("disks", string(release)+"-"+hash, func(building string) error {
		fmt.Fprintf(progress, "making the disk of the Debian %s virtual machine (about a minute, once)\n", release)
		return makeDisk(ctx, release, building, agent, progress)
	})
}

// buildOnce returns a directory of the cache. When it does not exist yet, make makes
// it under a temporary name; processes that ask at the same time wait for that one.
func buildOnce(kind, name string, make func(building string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	parent := filepath.Join(cache, kind)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	dir := filepath.Join(parent, name)
	lock, err := lockFile(dir+".lock", true)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	building := dir + ".building"
	if err := os.RemoveAll(building); err != nil {
		return "", err
	}
	if err := make(building); err != nil {
		return "", errors.Join(err, os.RemoveAll(building))
	}
	return dir, os.Rename(building, dir)
}

// buildAgent builds cocker-testagent and returns its path.
func buildAgent(ctx context.Context) (string, error) {
	checkout, err := Checkout()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "cocker-testagent")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./cmd/cocker-testagent")
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cocker-testagent: %w\n%s", err, out)
	}
	return path, nil
}

// diskHash identifies everything that decides what a disk holds.
func diskHash(release Release, agent string) (string, error) {
	program, err := os.ReadFile(agent)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	sum.Write(program)
	fmt.Fprintln(sum, imageSize, strings.Join(diskPackages(), ","), diskHooks(), strings.Join(diskMaskedUnits(), ","))
	for _, f := range diskFiles(release) {
		fmt.Fprintln(sum, f.path, f.content)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// makeDisk makes a Debian root with a kernel in a temporary directory and packs it.
func makeDisk(ctx context.Context, release Release, dir, agent string, progress io.Writer) error {
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := debootstrap(ctx, release, root, diskPackages(), diskHooks(), progress); err != nil {
		return err
	}
	if err := customize(root, diskFiles(release), diskMaskedUnits()); err != nil {
		return err
	}
	if err := installAgent(root, agent); err != nil {
		return err
	}
	if err := takeKernel(root, dir); err != nil {
		return err
	}
	image := filepath.Join(dir, imageFile)
	for _, command := range [][]string{
		{"truncate", "--size=" + imageSize, image},
		{"mkfs.ext4", "-q", "-F", "-d", root, image},
		{"rm", "-rf", "--one-file-system", root},
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return nil
}

func installAgent(root, agent string) error {
	program, err := os.ReadFile(agent)
	if err != nil {
		return err
	}
	path := filepath.Join(root, agentPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, program, 0o755); err != nil {
		return err
	}
	for _, unit := range []string{"testagent.service", "testnetwork.service"} {
		wants := filepath.Join(root, "etc/systemd/system/sysinit.target.wants", unit)
		if err := os.MkdirAll(filepath.Dir(wants), 0o755); err != nil {
			return err
		}
		if err := replaceLink("../"+unit, wants); err != nil {
			return err
		}
	}
	return nil
}

// takeKernel moves the kernel and the initrd, of which a root has one each.
func takeKernel(root, dir string) error {
	for pattern, name := range map[string]string{"vmlinuz-*": kernelFile, "initrd.img-*": initrdFile} {
		found, err := filepath.Glob(filepath.Join(root, "boot", pattern))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("one /boot/%s wanted, found %v %w", pattern, found, err)
		}
		if err := os.Rename(found[0], filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// kvmWorks says whether KVM runs the kernel. A device /dev/kvm is no proof: in a
// virtual machine it may be there and yet not run a common kernel. Without a root file
// system a kernel that runs panics in a second and, told to, ends qemu.
func kvmWorks(ctx context.Context, kernel string) (bool, error) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", kernel, "-append", "console=ttyS0 panic=-1").CombinedOutput()
	return err == nil && strings.Contains(string(out), "Unable to mount root fs"), nil
}
