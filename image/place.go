package image

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// SchemeSSH is what the names of images begin with whose repository is a directory
// that ssh(1) leads to: ssh://[USER@]HOST[:PORT]/NAME[:TAG].
const SchemeSSH = "ssh://"

// Place is a host that ssh(1) leads to, taken apart.
type Place struct {
	User string // "": whom ssh takes
	Host string // as ssh_config(5) has it: a name, an alias, or an address, without brackets
	Port int    // 0: which ssh takes
}

// ParsePlace reads ssh://[USER@]HOST[:PORT]. What it lets through is no option for
// ssh, which CVE-2017-1000117 and its like were about, and nothing that a shell, a
// path or a configuration file with "%h" in a command could take for more than a
// word: ssh refuses such hosts and users itself only since OpenSSH 9.6 (CVE-2023-51385).
func ParsePlace(text string) (Place, error) {
	rest, ok := strings.CutPrefix(text, SchemeSSH)
	if !ok {
		return Place{}, fmt.Errorf("%q does not begin with %s", text, SchemeSSH)
	}
	var p Place
	if user, host, found := strings.Cut(rest, "@"); found {
		if p.User, rest = user, host; !validWord(user) {
			return Place{}, fmt.Errorf("user %q: wanted letters and digits, and . _ - between them", user)
		}
	}
	host, port, hasPort := cutPort(rest)
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return Place{}, fmt.Errorf("port %q: wanted 1 to 65535", port)
		}
		p.Port = int(n)
	}
	p.Host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return p, checkHost(host)
}

// String puts the place together again.
func (p Place) String() string {
	text := p.Host
	if strings.Contains(text, ":") {
		text = "[" + text + "]"
	}
	if p.User != "" {
		text = p.User + "@" + text
	}
	if p.Port != 0 {
		text += ":" + strconv.Itoa(p.Port)
	}
	return SchemeSSH + text
}

// cutPort knows addresses in brackets, as in addresses of the web.
func cutPort(text string) (host, port string, found bool) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 || colon < strings.LastIndexByte(text, ']') {
		return text, "", false
	}
	return text[:colon], text[colon+1:], true
}

func checkHost(host string) error {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !a.Is6() || a.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return fmt.Errorf("host %q is no address of IPv6 in brackets", host)
		}
		return nil
	}
	if !validWord(host) {
		return fmt.Errorf("host %q: wanted letters and digits, and . _ - between them", host)
	}
	if strings.Trim(host, "0123456789") == "" {
		return fmt.Errorf("host %q: a number is no host", host)
	}
	return nil
}

// validWord is for users and hosts: what POSIX lets be the name of a user.
func validWord(word string) bool {
	const first = alphanumeric + uppercase
	return word != "" && len(word) <= maxName && strings.Trim(word, first+"_.-") == "" &&
		strings.IndexByte("-.", word[0]) < 0 && word[len(word)-1] != '-'
}

// cutPlace cuts ssh://HOST off a name: place is "" if the name has none.
func cutPlace(text string) (place, rest string) {
	host, ok := strings.CutPrefix(text, SchemeSSH)
	if !ok {
		return "", text
	}
	if slash := strings.IndexByte(host, '/'); slash >= 0 {
		return text[:len(SchemeSSH)+slash], host[slash+1:]
	}
	return text, ""
}

// IsSSH says whether the repository of an image is a directory that ssh leads to.
func (r Reference) IsSSH() bool { return strings.HasPrefix(r.Name, SchemeSSH) }

// Place is the host of an image with IsSSH, and its name there, without the tag.
func (r Reference) Place() (p Place, name string, err error) {
	place, name := cutPlace(r.Name)
	if place == "" {
		return p, "", badReference(r.String(), errors.New("it names no host after ssh://"))
	}
	p, err = ParsePlace(place)
	return p, name, err
}

// In index.json "ssh://" is "ssh:", as the grammar that the specification has for
// names of images (annotations.md) knows no two slashes: so "skopeo inspect
// oci:/var/lib/cocker/oci:ssh:me@example.com/web:1.0" finds the image. No other name
// begins so: what follows the colon would be the port of a registry "ssh".

// annotated is a name as index.json has it.
func annotated(name string) string {
	if rest, ok := strings.CutPrefix(name, SchemeSSH); ok {
		return "ssh:" + rest
	}
	return name
}

// unannotated is annotated's reverse.
func unannotated(text string) string {
	rest, ok := strings.CutPrefix(text, "ssh:")
	host, _, slash := strings.Cut(rest, "/")
	if !ok || !slash || strings.Trim(host, "0123456789") == "" {
		return text
	}
	return SchemeSSH + rest
}
