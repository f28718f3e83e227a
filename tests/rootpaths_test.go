package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// rootPackages work on the files of images and containers, from outside. There one path that
// is followed on the host is a way out: 20 of the 29 holes in engines like this one from 2021
// to 2026 are that. So a file of theirs is reached by a descriptor, through one of the
// helpers: rootfs.Root, linux.OpenInRoot, linux.OpenPlain and linux.OpenSameMount, and what
// treecopy and unpack have of their own for trees. Everything else is in ownPaths.
var rootPackages = [...]string{
	"rootfs", "launch", "volume", "image/unpack", "image/pack", "image/derive",
	"internal/agent", "internal/inode", "internal/render", "internal/sparse", "internal/treecopy",
}

// Why a path may be used: nothing of it is an image's or a container's.
const (
	ofStage  = "the stage: an empty tmpfs in the mount namespace of one thread"
	ofStore  = "cocker's own directories, where only root can write; what a container owns is below them and not on the path"
	ofKernel = "the host's /proc, /sys and cgroups"
	ofUser   = "a path of the host that the administrator's file or command line names"
	ofHost   = "a fixed file of the host"
	confines = "it is what confines: it enters or leaves by a path that is the kernel's or the process's own"
	byFD     = "relative to a descriptor, one element, and not followed"
)

// ownPaths are the functions that may call what takes a path.
var ownPaths = map[string]string{
	"launch.withRoot":                            ofStage,
	"rootfs.bindReadOnly":                        ofStage,
	"rootfs.likeTop":                             ofStage,
	"rootfs.mountMapped":                         ofStage,
	"rootfs.mountOverlay":                        ofStage,
	"rootfs.mountView":                           ofStage,
	"rootfs.newStage":                            ofStage,
	"rootfs.stageFile":                           ofStage,
	"rootfs.viewStage":                           ofStage,
	"image/derive.Opened.addEmpty":               ofStore,
	"image/pack.Dir":                             ofStore,
	"image/pack.Writable.walk":                   ofStore,
	"image/pack.openLayers":                      ofStore,
	"image/unpack.openTree":                      ofStore,
	"launch.Base":                                ofStore,
	"launch.CheckedOut.Place":                    ofStore,
	"launch.CheckedOut.Remove":                   ofStore,
	"launch.Files.mount":                         ofStore,
	"launch.Files.own":                           ofStore,
	"launch.NewData":                             ofStore,
	"launch.PodState.write":                      ofStore,
	"launch.ReadState":                           ofStore,
	"launch.Remove":                              ofStore,
	"launch.RemoveTransient":                     ofStore,
	"launch.State.Write":                         ofStore,
	"launch.States":                              ofStore,
	"launch.anyConnection":                       ofStore,
	"launch.connectPod":                          ofStore,
	"launch.isStill":                             ofStore,
	"launch.launcher.openPod":                    ofStore,
	"launch.launcher.pulled":                     ofStore,
	"launch.launcher.spawn":                      ofStore,
	"launch.launching":                           ofStore,
	"launch.listenControl":                       ofStore,
	"launch.lockData":                            ofStore,
	"launch.lockNames":                           ofStore,
	"launch.lockRendering":                       ofStore,
	"launch.lockState":                           ofStore,
	"launch.makePrivate":                         ofStore,
	"launch.openData":                            ofStore,
	"launch.openKills":                           ofStore,
	"launch.pinNamespaces":                       ofStore,
	"launch.podDown":                             ofStore,
	"launch.podStates":                           ofStore,
	"launch.podUp":                               ofStore,
	"launch.readPodState":                        ofStore,
	"launch.recordBase":                          ofStore,
	"launch.removeState":                         ofStore,
	"launch.replaceBase":                         ofStore,
	"launch.shareData":                           ofStore,
	"launch.sweepCheckouts":                      ofStore,
	"launch.unpin":                               ofStore,
	"rootfs.CreateWritable":                      ofStore,
	"rootfs.attachVolume":                        ofStore,
	"rootfs.checkWritable":                       ofStore,
	"rootfs.createUpper":                         ofStore,
	"rootfs.shareMemory":                         ofStore,
	"volume.Store.Create":                        ofStore,
	"volume.Store.Inspect":                       ofStore,
	"volume.Store.Names":                         ofStore,
	"volume.Store.Remove":                        ofStore,
	"volume.Store.makeDir":                       ofStore,
	"volume.Store.sweep":                         ofStore,
	"volume.Volume.Filled":                       ofStore,
	"volume.Volume.forget":                       ofStore,
	"volume.Volume.publish":                      ofStore,
	"volume.Volume.stage":                        ofStore,
	"volume.isStill":                             ofStore,
	"volume.openDir":                             ofStore,
	"volume.syncDir":                             ofStore,
	"volume.syncTree":                            ofStore,
	"launch.freezer.standsStill":                 ofKernel,
	"launch.isHostNetwork":                       ofKernel,
	"launch.keepControl":                         ofKernel,
	"launch.launcher.connectNetwork":             ofKernel,
	"launch.launcher.openCgroup":                 ofKernel,
	"launch.launcher.openContainer":              ofKernel,
	"launch.openCgroup":                          ofKernel,
	"launch.ownCgroup":                           ofKernel,
	"launch.reachRunning":                        ofKernel,
	"launch.setSysctl":                           ofKernel,
	"launch.terminalPath":                        ofKernel,
	"launch.thaw":                                ofKernel,
	"launch.wholeDisk":                           ofKernel,
	"rootfs.bindHostSys":                         ofKernel,
	"internal/treecopy.Side.open":                ofUser,
	"launch.diskOf":                              ofUser,
	"launch.launcher.openNamespace":              ofUser,
	"launch.readHost":                            ofUser,
	"rootfs.bind":                                ofUser,
	"launch.interfaceFiles":                      ofHost,
	"launch.launcher.resolvConf":                 ofHost,
	"launch.machineID":                           ofHost,
	"launch.openRescue":                          ofHost,
	"launch.resolvConf":                          ofHost,
	"launch.launcher.pinNetwork":                 ofStore,
	"launch.releaseCNI":                          ofStore,
	"launch.pinNamespace":                        ofStore,
	"launch.connector.findPeer":                  ofStore,
	"launch.readCredentials":                     ofUser,
	"launch.readCredential":                      ofUser,
	"launch.findCredential":                      ofUser,
	"launch.isDirectory":                         ofHost,
	"launch.awaitLxcfs":                          ofKernel,
	"launch.inMountNamespace":                    ofKernel,
	"launch.detachViews":                         ofHost,
	"launch.lxcfsDevice":                         ofHost,
	"launch.cloneViewed":                         ofHost,
	"launch.viewedFile.openDirectory":            confines,
	"launch.viewedFile.show":                     byFD,
	"internal/agent.Confine":                     confines,
	"internal/treecopy.openDescriptors":          confines,
	"rootfs.Seal":                                ofStage,
	"rootfs.everyDevice":                         ofHost,
	"rootfs.lookAtDevice":                        ofUser,
	"launch.hasModule":                           ofKernel,
	"rootfs.OpenRoot":                            confines,
	"rootfs.leaveHost":                           confines,
	"image/unpack.node.chmod":                    byFD,
	"image/unpack.node.setAttr":                  byFD,
	"internal/treecopy.Side.reopen":              byFD,
	"internal/treecopy.receiver.finishDirectory": byFD,
	"internal/treecopy.receiver.finishSpecial":   byFD,
	"internal/treecopy.receiver.overwrite":       byFD,
	"internal/treecopy.sender.directory":         byFD,
	"internal/treecopy.sender.element":           byFD,
}

// pathFunctions take a path of the host and follow it, by package.
var pathFunctions = map[string]string{
	"os":                       " Chdir Chmod Chown Chtimes CopyFS Create CreateTemp DirFS Lchown Link Lstat Mkdir MkdirAll MkdirTemp Open OpenFile OpenRoot OpenInRoot ReadDir ReadFile Readlink Remove RemoveAll Rename Stat Symlink Truncate WriteFile ",
	"path/filepath":            " EvalSymlinks Glob Walk WalkDir ",
	"syscall":                  " Access Chdir Chmod Chown Chroot Lchown Link Lstat Mkdir Mknod Mount Open Readlink Rename Rmdir Stat Statfs Symlink Truncate Unlink Unmount ",
	"golang.org/x/sys/unix":    " Access Chdir Chmod Chown Chroot Creat Getxattr Lchown Lgetxattr Link Listxattr Llistxattr Lremovexattr Lsetxattr Lstat Lutimes Mkdir Mkfifo Mknod Mount Open PivotRoot Readlink Removexattr Rename Rmdir Setxattr Stat Statfs Symlink Truncate Unlink Unmount Utime Utimes UtimesNano ",
	module + "/internal/linux": " AttachAt CloneMount Mount Open OpenAt OpenReadOnly RemoveTree ",
}

// TestRootPathsHaveOneHelper forbids plain calls on paths where files of images and
// containers are worked on, but for functions whose paths are others' (ownPaths).
func TestRootPathsHaveOneHelper(t *testing.T) {
	used := map[string]bool{}
	for _, dir := range rootPackages {
		for function, calls := range pathCalls(t, dir) {
			used[function] = true
			if ownPaths[function] == "" {
				t.Errorf("%s calls %s on a path. A file of an image or a container is reached by rootfs.Root or linux.OpenInRoot; "+
					"if no part of the path is one's, list the function in ownPaths, with the reason", function, strings.Join(calls, ", "))
			}
		}
	}
	for function := range ownPaths {
		if !used[function] {
			t.Errorf("ownPaths lists %s, which is not there any more or calls nothing on a path", function)
		}
	}
}

// pathCalls are the calls of pathFunctions in a package, by the function that they are in.
func pathCalls(t *testing.T, dir string) map[string][]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	found := map[string][]string{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		imported := importedNames(file)
		for _, declaration := range file.Decls {
			function := dir + "." + declarationName(declaration)
			ast.Inspect(declaration, func(n ast.Node) bool {
				// Not only calls: a function that is given away is called elsewhere.
				if call := qualified(n, imported); call != "" {
					found[function] = append(found[function], call)
				}
				return true
			})
		}
	}
	return found
}

// importedNames are the packages of pathFunctions in a file, by the name that they have there.
func importedNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if pathFunctions[path] == "" {
			continue
		}
		name := filepath.Base(path)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}

func qualified(n ast.Node, imported map[string]string) string {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	name, ok := selector.X.(*ast.Ident)
	if !ok || !strings.Contains(pathFunctions[imported[name.Name]], " "+selector.Sel.Name+" ") {
		return ""
	}
	return name.Name + "." + selector.Sel.Name
}

// declarationName is "function" or "Type.method"; a variable is one of its package.
func declarationName(declaration ast.Decl) string {
	function, ok := declaration.(*ast.FuncDecl)
	if !ok {
		return "(variables)"
	}
	if function.Recv == nil {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	if generic, ok := receiver.(*ast.IndexExpr); ok {
		receiver = generic.X
	}
	return receiver.(*ast.Ident).Name + "." + function.Name.Name
}
