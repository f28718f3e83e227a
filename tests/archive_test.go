package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// What cocker exports, others read; what they write, cocker imports and runs.
func TestArchives(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `mkdir /root/archives; find /var/lib/cocker -path '*/sha256/*' -prune -printf '%P\n' | sort >/root/archives/before`)
		t.Cleanup(func() {
			cleanup(t, h, `rm -rf /root/archives /var/lib/machines/tiny /var/lib/machines/tree`)
		})
		testExport(t, h)
		testExportTree(t, h)
		testKilledExport(t, h)
		testImportOfOthers(t, h)
		testPodman(t, h)
		testMachineTree(t, h)
		testBadArchives(t, h)
		testKilledImport(t, h)
		h.MustRun(t, `cocker image ls --json | jq -r '.[].reference | select(. != "demo:1.0")' | xargs -r cocker image rm
			find /var/lib/cocker -path '*/sha256/*' -prune -printf '%P\n' | sort | diff /root/archives/before - # nothing is left of any of it`)
	})
}

// testExport: skopeo and umoci read the three formats of images, and the store itself.
func testExport(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/archives
		printf added >file; tar cf layer.tar file; mkdir tree; cp -a file tree
		cocker image import tree other:2.0 sh >/dev/null
		digest=$(cocker image inspect --json demo | jq -r .digest)
		cocker image export demo:1.0 other:2.0 >oci.tar
		cocker image export -o oci2.tar demo:1.0 other:2.0; cmp oci.tar oci2.tar
		cocker image export --format docker-archive demo:1.0 other:2.0 -o docker.tar
		cocker image export --format oci-dir -o layout demo:1.0 other:2.0
		for ref in oci-archive:oci.tar:demo:1.0 oci:layout:demo:1.0 oci:/var/lib/cocker/oci:demo:1.0; do
			[ "$(skopeo inspect "$ref" | jq -r .Digest)" = "$digest" ]
		done
		diff=$(cocker image inspect --json demo | jq -r '.layers[0].diff_id')
		for ref in docker-archive:docker.tar:demo:1.0 docker-archive:oci.tar:demo:1.0; do
			[ "$(skopeo inspect "$ref" | jq -r '.Layers[]')" = "$diff" ]
			rm -rf copied; skopeo copy -q "$ref" oci:copied:x # it compares every layer
		done
		skopeo copy -q oci-archive:oci.tar:other:2.0 oci:copied:other
		for ref in copied:x layout:demo:1.0; do
			rm -rf bundle; umoci unpack --image $ref bundle >/dev/null 2>&1
			bundle/rootfs/bin/busybox echo works | grep -qx works
		done
		rm -rf bundle; umoci unpack --image copied:other bundle >/dev/null 2>&1; [ "$(cat bundle/rootfs/file)" = added ]
		# What was exported is the same image again.
		cocker image rm other:2.0
		for source in oci.tar layout; do
			[ "$(cocker image import $source | tr '\n' ' ')" = "demo:1.0 other:2.0 " ]
			[ "$(cocker image inspect --json demo | jq -r .digest)" = "$digest" ]
		done
		[ "$(cocker image import - mine <docker.tar | tr '\n' ' ')" = "mine:1.0 mine:2.0 " ]
		[ "$(cocker image inspect --json mine:1.0 | jq -r '.layers[0].diff_id')" = "$diff" ]
		# A terminal is no place for an archive.
		script -qec 'cocker image export demo' /dev/null </dev/null | grep -q "name a file, -o FILE"`)
}

// testExportTree: the files of an image, as a tar and in a directory, are those that umoci
// makes of its layers, to every owner, mode, time, hard link and attribute that GNU tar
// knows. Systemd-nspawn runs the directory, and cocker takes both in again.
func testExportTree(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/archives; rm -rf tree; mkdir -p tree/etc/d tree/opt tree/gone tree/usr
		cp /bin/busybox tree/opt; chmod 4711 tree/opt/busybox; ln tree/opt/busybox tree/opt/again; setcap cap_net_raw+ep tree/opt/busybox
		mknod tree/null c 1 3; mkfifo tree/fifo; ln -s ../etc tree/opt/link; truncate -s 5M tree/opt/sparse
		echo low >tree/etc/low; chown 1000:65534 tree/etc/low; setfattr -n user.kept -v yes tree/etc/low
		echo x >tree/gone/x; echo low >tree/etc/d/hidden; chmod 1777 tree/etc/d
		cocker image import tree tree:1 >/dev/null`)
	start(t, h, "tree", "images = ['demo', 'tree:1']\nnetwork.mode = 'none'\n"+sh(`rm -r /gone /etc/d; mkdir /etc/d; echo high >/etc/d/new
		rm /opt/again; ln /etc/low /opt/low; echo more >>/opt/link/low; touch /run/ready; exec sleep infinity`))
	h.WaitFor(t, eventually, "the command", `[ -e "/proc/$(systemctl show -P MainPID cocker@tree)/root/run/ready" ]`)
	h.MustRun(t, `set -ex; cd /root/archives; systemctl stop cocker@tree; cocker commit -q tree tree:2; cocker rm tree
		cocker image export --format oci-dir -o tree-layout tree:2; umoci unpack --image tree-layout:tree:2 tree-bundle >/dev/null 2>&1
		for layer in $(find tree-layout/blobs -type f); do ! tar tzf $layer 2>/dev/null; done | grep -q '/\.wh\.' # a layer hides something
		cocker image export --format tar -o tree.tar tree:2
		cocker image export --format tar tree:2 | cmp - tree.tar
		mkdir tree-dir tree-untarred # an empty directory is as good as none
		cocker image export --format dir -o tree-dir tree:2
		tar -C tree-untarred --xattrs --xattrs-include='*' --numeric-owner -xpf tree.tar
		pack() { tar -C "$1" --sort=name --numeric-owner --xattrs --xattrs-include='*' --format=pax --pax-option=delete=atime,delete=ctime -c .; }
		pack tree-bundle/rootfs >want.tar; tar tf want.tar | grep -qx ./etc/d/new
		for dir in tree-dir tree-untarred; do pack $dir | cmp - want.tar; done
		[ "$(stat -c %b tree-dir/opt/sparse)" = 0 ]
		[ "$(systemd-nspawn -q --private-users=no --private-network --as-pid2 --register=no -D tree-dir sh -c 'cat /etc/low /etc/d/*' 2>&1 </dev/null | tr -d '\r' | tr '\n' ' ')" = "low more high " ]
		# What is imported again is the same tree, wherever it is from.
		cocker image export --format dir -o /var/lib/machines/tree tree:2
		for source in tree.tar /var/lib/machines/tree machine:tree; do
			[ "$(cocker image import $source again:1 sh)" = again:1 ]
			cocker image export --format tar again:1 | cmp - tree.tar
			[ "$(cocker run --rm --network none again:1 cat /opt/low)" = "$(printf 'low\nmore')" ]
		done`)
	h.MustRun(t, `set -ex; cd /root/archives; ls -A >/run/before
		refuses() { want=$1; shift; ! timeout 60 cocker image export "$@" >out 2>err && [ ! -s out ] && grep -q "$want" err; rm out err; ls -A | diff /run/before -; }
		for format in tar dir; do refuses "one image, not of 2" --format $format -o new tree:2 demo; done
		refuses "one image, not of 2" --format tar tree:2 demo
		refuses "needs a directory" --format dir tree:2
		find tree-dir -printf '%p %i %T@ %C@\n' >/run/tree-dir
		refuses "not empty" --format dir -o tree-dir demo
		refuses "is a directory" --format tar -o tree-dir demo
		find tree-dir -printf '%p %i %T@ %C@\n' | diff /run/tree-dir -; rm /run/tree-dir /run/before`)
}

// testKilledExport: the directory is there when all of it is, and not before. Only who
// is killed leaves something, with a name that begins with a dot.
func testKilledExport(t *testing.T, h *host.Host) {
	t.Helper()
	// Each call is made once, so that it does not matter that strace counts for each thread. Much is
	// to come after the hard link, so that a signal is noticed before the end.
	importTree(t, h, "large:1", `echo x >first; ln first link; truncate -s 200M sparse; echo end >the-end`)
	for _, tt := range []struct{ signal, call, left string }{
		{"KILL", "linkat", ".large."}, {"KILL", "syncfs", ".large."}, {"KILL", "rename,renameat,renameat2", ".large."},
		{"TERM", "linkat", ""}, {"INT", "linkat", ""},
	} {
		h.MustRun(t, `set -x; mkdir /root/archives/killed; cd /root/archives/killed
			timeout 100 strace -f -qq -o /dev/null -e trace="$2" -e inject="$2:signal=$1:when=1" cocker image export --format dir -o large large:1 2>/dev/null
			[ $? != 0 ] && [ ! -e large ] || exit 1
			left=$(ls -A); [ "${left%"${left#.large.}"}" = "$3" ] && [ -n "$3" -o -z "$left" ] || { echo "left: $left" >&2; exit 1; }
			cocker image export --format dir -o large large:1 && [ "$(cat large/the-end)" = end ] || exit 1
			cd ..; rm -rf killed`, tt.signal, tt.call, tt.left)
	}
}

// testImportOfOthers: archives and layouts of skopeo and umoci, in all compressions.
func testImportOfOthers(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/archives
		works() { [ "$(cocker run --rm --network none "$1" echo works)" = works ]; }
		skopeo copy -q oci:/var/lib/cocker/oci:demo:1.0 oci-archive:skopeo-oci.tar:example.com/oci:1.0
		skopeo copy -q --additional-tag example.com/second:3 oci:/var/lib/cocker/oci:demo:1.0 docker-archive:skopeo-docker.tar:example.com/docker:1.0
		[ "$(cocker image import skopeo-oci.tar)" = example.com/oci:1.0 ]; works example.com/oci:1.0
		[ "$(cocker image import skopeo-docker.tar | sort | tr '\n' ' ')" = "example.com/docker:1.0 example.com/second:3 " ]; works example.com/second
		[ "$(cocker image import --image example.com/docker:1.0 - one:1 <skopeo-docker.tar)" = one:1 ]
		for pack in gzip xz bzip2; do
			! command -v $pack >/dev/null || [ "$($pack -c skopeo-oci.tar | cocker image import - packed)" = packed:1.0 ]
		done
		works packed
		# umoci: versions side by side, named by tags alone; its layers have no end mark.
		skopeo copy -q oci:/var/lib/cocker/oci:demo:1.0 oci:umoci:1.9
		echo newer >newer; umoci insert --image umoci:1.9 --tag 1.10 newer /newer >/dev/null 2>&1
		umoci config --image umoci:1.10 --tag 1.10-rc1 --config.env STAGE=rc >/dev/null 2>&1
		! cocker image import umoci 2>err; grep -q "no name for it; give one" err
		[ "$(cocker image import umoci versions | sort -V | tr '\n' ' ')" = "versions:1.9 versions:1.10 versions:1.10-rc1 " ]
		[ "$(cocker run --rm --network none versions cat /newer)" = newer ] # no tag is the highest version
		[ "$(cocker image ls --json | jq -r '.[].reference | select(startswith("versions:"))' | tr '\n' ' ')" = "versions:1.9 versions:1.10-rc1 versions:1.10 " ]
		[ "$(cocker run --rm --network none versions:1.10-rc1 sh -c 'echo $STAGE')" = rc ]
		cocker image history --json versions | jq -e '[.[] | select(.layer)] | length == 2' >/dev/null
		# The lower layer is shared, the upper one the image's own and its candidate's.
		cocker image inspect --size --json versions:1.9 | jq -e '.size == .own_size + .shared_size and .shared_size > 1000000 and .unpacked_size > .size' >/dev/null`)
}

// testPodman: podman loads what cocker exports, and cocker runs what podman saves.
func testPodman(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/archives
		podman() { command podman --root /var/lib/cocker/podman --runroot /run/podman "$@"; }
		podman load -q -i oci.tar >/dev/null; podman load -q -i docker.tar >/dev/null
		[ "$(podman run --rm --network none --cgroups disabled demo:1.0 echo works)" = works ]
		for format in oci-archive docker-archive; do
			podman tag localhost/demo:1.0 example.com/podman/$format:1
			podman save -q --format $format -o podman-$format.tar example.com/podman/$format:1
			[ "$(cocker image import podman-$format.tar)" = example.com/podman/$format:1 ]
			[ "$(cocker run --rm --network none example.com/podman/$format:1 echo works)" = works ]
		done
		podman save -q -m --format docker-archive -o several.tar localhost/demo:1.0 localhost/other:2.0
		[ "$(cocker image import several.tar several | sort | tr '\n' ' ')" = "several:1.0 several:2.0 " ]
		podman rmi -af >/dev/null; ! mountpoint -q /var/lib/cocker/podman/overlay || umount /var/lib/cocker/podman/overlay
		rm -rf /var/lib/cocker/podman /run/podman`)
}

// testMachineTree: a tree of systemd-nspawn, whose ids it has moved to a range.
func testMachineTree(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/archives
		m=/var/lib/machines/tiny; mkdir -p $m/bin $m/etc $m/home
		cp /bin/busybox $m/bin/sh; echo ID=tiny >$m/etc/os-release; chmod 700 $m/home
		chown -R 524288:524288 $m; chown 525288:525288 $m/home
		[ "$(cocker image import machine:tiny tiny:1 2>note)" = tiny:1 ]; grep -q "ids from 524288 on" note
		machinectl list-images --no-legend | grep -q ^tiny
		[ "$(cocker run --rm --network none tiny:1 sh -c '. /etc/os-release; stat -c %u:%a /home /etc | tr "\n" " "; echo $ID')" = "1000:700 0:755 tiny" ]
		[ "$(cocker image import $m tiny:2 2>/dev/null)" = tiny:2 ]
		[ "$(cocker image inspect --json tiny:1 | jq .layers[0].diff_id)" = "$(cocker image inspect --json tiny:2 | jq .layers[0].diff_id)" ]
		! cocker image import machine:none none 2>err; grep -q "there is no machine /var/lib/machines/none" err`)
}

// testBadArchives: each is refused with a reason, and nothing of it is left.
func testBadArchives(t *testing.T, h *host.Host) {
	t.Helper()
	// Of an image whose layer is not in the store: what is there is not read again.
	h.MustRun(t, `set -ex; cd /root/archives; rm -rf layout docker.tar oci.tar
		mkdir new; head -c 1000000 /dev/urandom >new/random; cocker image import new new:1 >/dev/null
		cocker image export --format oci-dir -o layout new:1
		cocker image export -o oci.tar new:1; cocker image export --format docker-archive -o docker.tar new:1
		cocker image rm new:1`)
	for _, tt := range []struct{ make, want string }{
		{`cp -r layout bad; rm $(find bad/blobs -size +100k)`, "is not in the archive"},
		{`cp -r layout bad; f=$(find bad/blobs -size +100k); printf X | dd of=$f bs=1 seek=5000 conv=notrunc 2>/dev/null`, "the content has another digest"},
		{`cp -r layout bad; f=$(find bad/blobs -size +100k); mv $f .; ln -s /root/archives/$(basename $f) $f`, "path escapes from parent"},
		{`head -c 500000 oci.tar >bad`, "cut short"},
		{`mkdir d; cd d; tar xf ../docker.tar; sed -i 's#"[0-9a-f]*\.tar"#"../../../etc/passwd"#g' manifest.json; tar cf ../bad *; cd ..`, "leads out of the archive"},
		{`mkdir d; cd d; tar xf ../docker.tar; for l in *.tar; do ln -sf /etc/passwd $l; done; tar cf ../bad *; cd ..`, "leads out of the archive"},
		{`mkdir d; cd d; tar xf ../docker.tar; for l in *.tar; do echo changed >$l; done; tar cf ../bad *; cd ..`, "cut short: no end mark after 8 bytes of tar"},
		{`cp docker.tar bad; tar xf bad manifest.json; tar rf bad manifest.json`, "in the archive twice"},
	} {
		r := h.Run(t, `cd /root/archives; cocker image ls --json >list; rm -rf bad d manifest.json; `+tt.make+`
			cocker image import bad stolen && exit 100
			cocker image ls --json | diff list - && ! ls -d /var/lib/cocker/*/.staging* 2>/dev/null || exit 101
			exit 1`)
		if r.ExitCode != 1 || !strings.Contains(r.Stderr, "import bad: ") || !strings.Contains(r.Stderr, tt.want) {
			t.Errorf("%s\nexit status %d, %s%swant %s", tt.make, r.ExitCode, r.Stdout, r.Stderr, tt.want)
		}
	}
}

// testKilledImport: an import that is killed while the archive comes in leaves nothing
// that the next one does not clear away.
func testKilledImport(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `systemd-run -q --unit=test-import sh -c '{ head -c 700000 /root/archives/oci.tar; exec sleep infinity; } | exec cocker image import - killed'`)
	h.WaitFor(t, eventually, "the import to be under way", `ls -d /var/lib/cocker/oci/.staging-*`)
	h.MustRun(t, `systemctl kill --signal=KILL test-import`)
	h.WaitFor(t, eventually, "its end", `! systemctl is-active -q test-import`)
	h.MustRun(t, `systemctl reset-failed test-import; cd /root/archives
		cocker image import oci.tar after >/dev/null
		! ls -d /var/lib/cocker/*/.staging-* 2>/dev/null
		! cocker image inspect killed 2>/dev/null`)
}

// Three images stacked: the lowest first, a higher one hides, replaces and adds, the
// environment comes from all, and what runs is the topmost one's.
func TestStack(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `set -ex; mkdir /root/stack; cd /root/stack
			mkdir -p low/etc/conf.d low/opt/old low/srv; cd low
			echo low >etc/conf.d/app; echo low >etc/gone; echo low >opt/old/file; echo low >srv/kept; cd ..
			mkdir -p mid/etc/conf.d mid/opt/old; cd mid
			echo mid >etc/conf.d/app; : >etc/.wh.gone; : >opt/old/.wh..wh..opq; echo mid >opt/old/new; echo mid >etc/again; tar cf ../mid.tar .; cd ..
			mkdir -p top/etc; cd top
			: >etc/.wh.again; echo top >etc/gone; tar cf ../top.tar .; cd ..
			cocker image import -e LOW=low -e ALL=low -e SOME=low low low:1 false
			cocker image import -e MID=mid -e ALL=mid -e SOME=mid mid.tar mid:1.9 false
			cocker image tag mid:1.9 mid:1.10; cocker image import -e MID=wrong low mid:1.2 false
			cocker image import -e TOP=top -e ALL=top top.tar top:1 sh -c '`+stackScript+`'`)
		t.Cleanup(func() { cleanup(t, h, `rm -rf /root/stack`) })
		const want = "mid|top|new|low|no|low mid top top mid"
		if got := output(t, h, "stack", "images = ['demo', 'low:1', 'mid', 'top:1']\n"); got != want {
			t.Errorf("stacked: %s, want %s", got, want)
		}
		// In another order the lower one's files and command count.
		if got := output(t, h, "turned", "images = ['demo', 'top:1', 'mid', 'low:1']\n"+sh("cat /etc/gone /etc/again /opt/old/*; echo $ALL")); got != "low\nmid\nlow\nmid\nlow" {
			t.Errorf("turned: %s", got)
		}
	})
}

const stackScript = `echo "$(cat /etc/conf.d/app)|$(cat /etc/gone)|$(ls /opt/old)|$(cat /srv/kept)|$(cat /etc/again 2>/dev/null || echo no)|$LOW $MID $TOP $ALL $SOME"`
