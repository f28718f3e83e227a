package tests

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cocker/cocker/tests/host"
)

// What cocker pushes to a registry as Debian has it, others read; what they write
// there, cocker runs.
func TestRegistry(t *testing.T) {
	onCleanHost(t, func(t *testing.T, h *host.Host) {
		startRegistry(t, h)
		h.MustRun(t, `cocker image ls --json >/root/images.before`)
		testRefusals(t, h)
		h.MustRun(t, `skopeo login --cert-dir /root/registry/ca -u me -p secret 127.0.0.1:5000 >/dev/null`)
		testPush(t, h)
		testSkopeosImages(t, h)
		testUmocisLayer(t, h)
		testIndex(t, h)
		testNames(t, h)
		h.MustRun(t, `cocker image ls --json | jq -r '.[].reference' | grep ^127.0.0.1:5000/ | xargs cocker image rm
			cocker image ls --json | diff /root/images.before -`)
	})
}

// startRegistry runs a registry with TLS and a password until the test is over.
func startRegistry(t *testing.T, h *host.Host) {
	t.Helper()
	certificate, key := selfSigned(t)
	h.MustRun(t, `mkdir -p /root/registry/ca /root/registry/data && cd /root/registry
		printf %s "$1" >cert.pem; printf %s "$2" >key.pem; cp cert.pem ca/ca.crt
		# The password is "secret".
		echo 'me:$2b$05$ruCKBVvxZ3blBn.Ebdk8cukMq2BCqxd4c5QC1PZvl8OWH8ed.i5DK' >htpasswd
		cat >config.yml <<-end
			version: 0.1
			log: {level: error, accesslog: {disabled: true}}
			storage: {filesystem: {rootdirectory: /root/registry/data}}
			http: {addr: "127.0.0.1:5000", tls: {certificate: /root/registry/cert.pem, key: /root/registry/key.pem}}
			auth: {htpasswd: {realm: test, path: /root/registry/htpasswd}}
		end
		systemd-run --quiet --unit=test-registry docker-registry serve /root/registry/config.yml`, certificate, key)
	t.Cleanup(func() {
		cleanup(t, h, `systemctl stop test-registry; rm -rf /root/registry /root/images.before /etc/cocker/registries.toml /run/containers
			systemctl reset-failed test-registry 2>/dev/null || :`)
	})
	h.WaitFor(t, eventually, "the registry", `[ "$(curl -s -o /dev/null -w '%{http_code}' --cacert /root/registry/cert.pem https://127.0.0.1:5000/v2/)" = 401 ]`)
}

func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test registry"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, data []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", secret)
}

// cleanup runs a script after a test, whose context is over.
func cleanup(t *testing.T, h *host.Host, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), eventually)
	defer cancel()
	cmd := h.Command(ctx, "/bin/sh", "-c", script)
	if result, err := cmd.Exec(nil); err != nil || result.ExitCode != 0 {
		t.Errorf("%s: %v %s", script, err, result.Stderr)
	}
}

// testRefusals follows what the errors advise, one after the other.
func testRefusals(t *testing.T, h *host.Host) {
	t.Helper()
	push := func(want string) {
		t.Helper()
		r := h.Run(t, `cocker image push demo 127.0.0.1:5000/team/demo:1.0`)
		if r.ExitCode != 1 || r.Stdout != "" || !strings.Contains(r.Stderr, want) || !strings.Contains(r.Stderr, "push demo to 127.0.0.1:5000/team/demo:1.0: 127.0.0.1:5000: ") {
			t.Errorf("exit status %d, stderr %swant %s", r.ExitCode, r.Stderr, want)
		}
	}
	push(`ca = "/..." below [registry."127.0.0.1:5000"] in /etc/cocker/registries.toml`)
	h.MustRun(t, `printf '[registry."127.0.0.1:5000"]\nc = "/root/registry/cert.pem"\n' >/etc/cocker/registries.toml`)
	r := h.Run(t, `cocker check`)
	if want := `/etc/cocker/registries.toml:2: unknown key "c" in registry."127.0.0.1:5000" (did you mean "ca"?)`; r.ExitCode != 1 || !strings.Contains(r.Stderr, want) {
		t.Errorf("check: exit status %d, %s", r.ExitCode, r.Stderr)
	}
	h.MustRun(t, `sed -i 's/^c /ca /' /etc/cocker/registries.toml && cocker check`)
	push(`no file has credentials for 127.0.0.1:5000: "podman login"`)
}

// testPush: skopeo and umoci read what cocker pushed, and podman runs it.
func testPush(t *testing.T, h *host.Host) {
	t.Helper()
	digest := h.MustRun(t, `set -ex
		pushed=$(cocker image push demo 127.0.0.1:5000/team/demo:1.0 2>/root/registry/push.log)
		cocker image push --json demo 127.0.0.1:5000/team/demo:1.0 2>>/root/registry/push.log | jq -e --arg p "$pushed" '.reference+"@"+.digest == $p' >/dev/null
		digest=${pushed#*@}
		[ "$(skopeo inspect --cert-dir /root/registry/ca docker://127.0.0.1:5000/team/demo:1.0 | jq -r .Digest)" = "$digest" ]
		skopeo copy -q --src-cert-dir /root/registry/ca docker://127.0.0.1:5000/team/demo@$digest oci:/root/registry/copy:1.0
		umoci unpack --image /root/registry/copy:1.0 /root/registry/bundle >/dev/null 2>&1
		/root/registry/bundle/rootfs/bin/busybox echo works | grep -qx works
		podman() { command podman --root /var/lib/cocker/podman --runroot /run/podman "$@"; }
		podman pull -q --cert-dir /root/registry/ca --creds me:secret 127.0.0.1:5000/team/demo:1.0 >/dev/null
		[ "$(podman run --rm --network none --cgroups disabled 127.0.0.1:5000/team/demo:1.0 echo works)" = works ]
		podman rmi -af >/dev/null; ! mountpoint -q /var/lib/cocker/podman/overlay || umount /var/lib/cocker/podman/overlay
		rm -rf /var/lib/cocker/podman /run/podman
		echo "$digest"`)
	// Nothing is sent twice, and the lines are plain where there is no terminal.
	log := h.MustRun(t, "cat /root/registry/push.log")
	if lines := strings.Split(log, "\n"); len(lines) != 3 || lines[0] != lines[2] || !strings.HasPrefix(lines[1], "sha256:") || strings.Contains(log, "\x1b") {
		t.Errorf("push said:\n%s", log)
	}
	if own := h.MustRun(t, `cocker image inspect --json demo | jq -r .digest`); own != digest {
		t.Errorf("%s was pushed, %s is here", digest, own)
	}
}

// testSkopeosImages: cocker runs what skopeo wrote, in all forms, and skopeo and
// umoci read cocker's store.
func testSkopeosImages(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `skopeo copy -q --dest-decompress oci:/var/lib/cocker/oci:demo:1.0 dir:/root/registry/plain`)
	for _, form := range []struct{ name, options, zstd string }{
		{"docker", "--format v2s2", "0"}, {"oci", "--format oci", "0"}, {"zstd", "--dest-compress-format zstd --format oci", "1"},
		{"none", "--preserve-digests", "0"}, // last: what is there uncompressed is not sent in another form
	} {
		h.MustRun(t, `set -ex
			ref=127.0.0.1:5000/team/demo:$1 from=dir:/root/registry/plain
			rm -rf /var/lib/containers/cache # or it sends what it knows to be the same, compressed otherwise
			skopeo copy -q --dest-cert-dir /root/registry/ca $2 "$from" docker://$ref
			[ "$(cocker image pull "$ref" 2>/root/registry/pull.log)" = "$ref" ]
			[ "$(cocker run --rm --network none "$ref" echo works)" = works ]
			skopeo inspect oci:/var/lib/cocker/oci:"$ref" >/dev/null
			[ "$(skopeo inspect --raw --cert-dir /root/registry/ca docker://"$ref" | grep -c zstd)" = "$3" ]
			umoci stat --image "/var/lib/cocker/oci:$ref" >/dev/null
			[ "$1" = zstd ] || umoci unpack --image "/var/lib/cocker/oci:$ref" /root/registry/bundle-$1 >/dev/null 2>&1 # umoci 0.4.7 knows no zstd
			digest=$(skopeo inspect --cert-dir /root/registry/ca docker://"$ref" | jq -r .Digest)
			[ "$(cocker image pull "127.0.0.1:5000/team/demo@$digest" 2>/dev/null)" = "127.0.0.1:5000/team/demo@$digest" ]
			cocker run --rm --network none "127.0.0.1:5000/team/demo:any@$digest" true
			cocker image pull "$ref" 2>&1 | grep -q "^sha256" && exit 1; true`, form.name, form.options, form.zstd)
	}
}

// testUmocisLayer: a layer that another tool has added, whose tar has no end mark.
func testUmocisLayer(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/registry
		echo added >file; umoci insert --image copy:1.0 file /added
		skopeo copy -q --dest-cert-dir ca oci:copy:1.0 docker://127.0.0.1:5000/team/umoci:1.0
		cocker image pull 127.0.0.1:5000/team/umoci 2>/dev/null | grep -qx 127.0.0.1:5000/team/umoci:1.0
		[ "$(cocker run --rm --network none 127.0.0.1:5000/team/umoci cat /added)" = added ]`)
}

// testIndex: this machine's image of several, and another's.
func testIndex(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex
		api=https://127.0.0.1:5000/v2/team/demo/manifests
		request() { curl -sSf --cacert /root/registry/cert.pem -u me:secret "$@"; }
		entry() { # TAG ARCHITECTURE
			request -H "Accept: $type" "$api/$1" >manifest
			printf '{"mediaType":"%s","digest":"sha256:%s","size":%d,"platform":{"os":"linux","architecture":"%s"}}' \
				"$type" "$(sha256sum manifest | cut -d" " -f1)" "$(stat -c %s manifest)" "$2"
		}
		cd /root/registry; type=application/vnd.oci.image.manifest.v1+json
		jq -n --argjson a "$(entry oci s390x)" --argjson b "$(entry zstd "$(dpkg --print-architecture)")" \
			'{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [$a, $b]}' >index
		request -X PUT -H "Content-Type: application/vnd.oci.image.index.v1+json" --data-binary @index "$api/multi"
		digest=sha256:$(sha256sum index | cut -d" " -f1)
		cocker image pull 127.0.0.1:5000/team/demo:multi 2>/dev/null
		of() { cocker image inspect --json "127.0.0.1:5000/team/demo:$1" | jq -r .digest; }
		[ "$(of multi)" = "$(of zstd)" ] && [ "$(of "multi@$digest")" = "$(of zstd)" ]
		cocker image pull --platform linux/s390x --json 127.0.0.1:5000/team/demo:multi 2>/dev/null | jq -e '.[0].digest' >/dev/null
		[ "$(of multi)" = "$(of oci)" ]
		! cocker image pull --platform linux/arm/v7 127.0.0.1:5000/team/demo:multi 2>err
		grep -q "no image for linux/arm/v7, only for linux/" err`)
}

// testNames: no tag, tags, history.
func testNames(t *testing.T, h *host.Host) {
	t.Helper()
	h.MustRun(t, `set -ex; cd /root/registry
		for tag in 1.9 1.10; do cocker image push -h >/dev/null; cocker image push demo 127.0.0.1:5000/versions/demo:$tag >/dev/null 2>&1; done
		[ "$(cocker image pull 127.0.0.1:5000/versions/demo 2>/dev/null)" = 127.0.0.1:5000/versions/demo:1.10 ]
		[ "$(cocker run --rm --network none 127.0.0.1:5000/versions/demo echo works)" = works ]
		[ "$(cocker image tag demo:1.0 127.0.0.1:5000/x/demo)" = 127.0.0.1:5000/x/demo:latest ]
		[ "$(cocker image rename 127.0.0.1:5000/x/demo 127.0.0.1:5000/x/demo:2)" = 127.0.0.1:5000/x/demo:2 ]
		cocker image ls | grep -q '^127.0.0.1:5000/x/demo:2 '; cocker image ls | grep -q '/x/demo:latest' && exit 1
		cocker image history --json demo | jq -e '.[0].created_by == "cocker image import" and .[0].size > 100000' >/dev/null
		! cocker image pull 127.0.0.1:5000/versions/demo:3 2>err; grep -q "no tag 3; of 2 tags the highest is 1.10" err
		! cocker image pull 127.0.0.1:5000/versions/none 2>err; grep -q "127.0.0.1:5000/versions/none" err
		! cocker image pull 127.0.0.1:1/a:1 2>err; grep -q "connection refused (nothing listens there" err && [ "$(wc -l <err)" = 1 ]
		[ "$(cocker image search 127.0.0.1:5000 'versions/*' | awk '{ print $1 }' | tail -n +2 | tr '\n' ' ')" = "127.0.0.1:5000/versions/demo:1.9 127.0.0.1:5000/versions/demo:1.10 " ]
		cocker image search --json 127.0.0.1:5000/team/demo | jq -e 'map(.tag) | index("1.0") and index("zstd")' >/dev/null
		! cocker image search 127.0.0.1:5000/team/none 2>err; grep -q "list 127.0.0.1:5000/team/none" err`)
}
