package tests

import (
	"strings"
	"testing"

	"github.com/cocker/cocker/tests/host"
)

// Images that reach out of their directory, or are bombs, are refused with a reason; on
// the host nothing changes, and nothing of them is left.
func TestHostileImages(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		h.MustRun(t, `mkdir -p /root/hostile/canary && cd /root/hostile && echo alive >canary/file
			mkdir tree && cd tree && echo x >x && mkdir d && ln -s /root/hostile/canary out && ln x hard
			tar -cf ../dotdot.tar --transform 's,^x$,../../../../root/hostile/canary/file,' x
			tar -cPf ../absolute.tar --transform 's,^x$,/root/hostile/canary/file,' x
			tar -cf ../link.tar out; tar -rf ../link.tar --transform 's,^x$,out/file,' x
			tar -cPf ../hard.tar --transform 'flags=h;s,^x$,../../../../root/hostile/canary/file,' x hard
			tar -cf ../whiteout.tar --transform 's,^x$,d/.wh...,' x
			head -c 100M /dev/zero >zeros; tar -czf ../bomb.tar.gz zeros; rm zeros
			mkdir many && seq -f many/%g 10000 | xargs touch && tar -czf ../many.tar.gz many
			cd .. && rm -r tree`)
		look := func() string {
			return h.MustRun(t, "find /var/lib/cocker /root/hostile/canary -printf '%p %y %m %U:%G %n %l\n' | sort; cat /root/hostile/canary/file")
		}
		before := look()
		for _, c := range []struct{ file, options, reason string }{
			{"dotdot.tar", "", `has an element ".."`},
			{"absolute.tar", "", "the name is absolute"},
			{"link.tar", "", "a symbolic link that leads to no directory is in its place"},
			{"hard.tar", "", `hard link to "../../../../root/hostile/canary/file"`},
			{"whiteout.tar", "", `whiteout of ".."`},
			{"bomb.tar.gz", "--max-size 99M", "larger than it may be: its files have more than 103809024 bytes together"},
			{"many.tar.gz", "--max-files 10000", "larger than it may be: there are more than 10000 files in it"},
			{"many.tar.gz", "--max-size 1X", `wanted a size such as "512M" or "20G"`},
		} {
			r := h.Run(t, "cocker image import "+c.options+" /root/hostile/"+c.file+" hostile:1")
			if r.ExitCode != 1 || !strings.Contains(r.Stderr, c.reason) {
				t.Errorf("%s: exit status %d, %s; want %q", c.file, r.ExitCode, r.Stderr, c.reason)
			}
			if after := look(); after != before {
				t.Errorf("%s: there is now\n%s\nwant\n%s", c.file, after, before)
			}
		}
		wantChecked(t, h)
		// Below the limits they are images as any other.
		h.MustRun(t, "cocker image import --max-size 100M --max-files 1 /root/hostile/bomb.tar.gz bomb:1")
		pullTooLarge(t, h)
		h.MustRun(t, "cocker image rm bomb:1; rm -r /root/hostile")
		wantChecked(t, h)
	})
}

// pullTooLarge: the same limits for what a registry has.
func pullTooLarge(t *testing.T, h *host.Host) {
	t.Helper()
	startRegistry(t, h)
	h.MustRun(t, `set -e
		skopeo login --cert-dir /root/registry/ca -u me -p secret 127.0.0.1:5000 >/dev/null
		printf '[registry."127.0.0.1:5000"]\nca = "/root/registry/cert.pem"\n' >/etc/cocker/registries.toml
		cocker image push bomb:1 127.0.0.1:5000/bomb:1 2>/dev/null
		cocker image rm bomb:1`)
	h.MustRun(t, `sed -i '1i max_size = "99M"' /etc/cocker/registries.toml; cocker check >/dev/null`)
	const reason = "its files have more than 103809024 bytes together (max_size and max_files in registries.toml"
	if r := h.Run(t, "cocker image pull 127.0.0.1:5000/bomb:1"); r.ExitCode != 1 || !strings.Contains(r.Stderr, reason) {
		t.Errorf("pull: exit status %d, %s", r.ExitCode, r.Stderr)
	}
	wantChecked(t, h)
	h.MustRun(t, `sed -i s/99M/100M/ /etc/cocker/registries.toml
		cocker image pull 127.0.0.1:5000/bomb:1 >/dev/null 2>&1; cocker image rename 127.0.0.1:5000/bomb:1 bomb:1`)
}
