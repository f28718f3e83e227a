package login

import (
	"strings"
	"testing"
	"time"
)

// The hashes are those that perl's crypt of Debian 12 (libxcrypt 4.4.33) gives, openssl
// passwd, and busybox's cryptpw.
func TestMatches(t *testing.T) {
	for _, hash := range []string{
		"$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
		"$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
		"$6$rounds=1500$abcdefgh$syvtMLFsWsXCpuRPQUwd44b7UM3XmyR5rUqBGVm3nds8aNPU1AsM0TlMXHji8q4Hr8QD7qQ76ry1zJ/Yl5jw.1",
		"$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
		"$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1",
		"$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
	} {
		if !known(hash) || !matches(hash, "secret") {
			t.Errorf("%s: the password does not match", hash)
		}
		for _, wrong := range []string{"", "Secret", "secret ", "secre", strings.Repeat("secret", 100)} {
			if matches(hash, wrong) {
				t.Errorf("%s: %q matches", hash, wrong)
			}
		}
		for _, cut := range []int{0, 2, 3, 4, 10, len(hash) / 2, len(hash) - 1} {
			if matches(hash[:cut], "secret") {
				t.Errorf("%s: a part of it matches", hash[:cut])
			}
		}
	}
	for _, hash := range []string{"", "*", "!", "!!", "x", "!" + "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.", "ab1KMtL0F0DvM", "$9$a$b", "$6$", "$1$", "$2b$", "$y$", "$6$rounds=x$a$b", "$y$jzz$a$b"} {
		if matches(hash, "secret") || matches(hash, "") {
			t.Errorf("%q matches", hash)
		}
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.", "secret")
	f.Add("$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "")
	f.Fuzz(func(t *testing.T, hash, password string) {
		if strings.Contains(hash, "rounds=") || strings.HasPrefix(hash, "$2") || strings.HasPrefix(hash, "$y") {
			t.Skip("it may take hours")
		}
		matches(hash, password)
	})
}

func TestAccounts(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Unix(0, 0).Add(20000 * day)
	const passwd = "root:x:0:0::/root:/bin/sh\nopen::1:1::/:/bin/sh\nold:$1$a$b:2:2::/:/bin/sh\nlocked:x:3:3::/:/bin/sh\nmissing:x:4:4::/:/bin/sh\n" +
		"expired:x:5:5::/:/bin/sh\nmust:x:6:6::/:/bin/sh\naged:x:7:7::/:/bin/sh\ninactive:x:8:8::/:/bin/sh\nwarned:x:9:9::/:/bin/sh\nshort:x\n"
	const shadow = "root:$6$r$h:19000:0:99999:7:::\nopen:*:1::::::\nold:$6$o$h:::::::\nlocked:!$6$l$h:19000::::::\nexpired:$6$e$h:19000:0:99999:7::20000:\n" +
		"must:$6$m$h:0:0:99999:7:::\naged:$6$a$h:19000:0:999:7:::\ninactive:$6$i$h:19000:0:900:7:50::\nwarned:$6$w$h:19000:0:1003:7:::\n"
	for name, want := range map[string]struct{ password, refusal, notice string }{
		"root":     {"$6$r$h", "", ""},
		"open":     {"", "", ""},
		"old":      {"$1$a$b", "", ""},
		"locked":   {"!$6$l$h", "", ""},
		"missing":  {"*", "", ""},
		"expired":  {"$6$e$h", "Your account has expired.", ""},
		"must":     {"$6$m$h", "must be changed", ""},
		"aged":     {"$6$a$h", "must be changed", ""},
		"inactive": {"$6$i$h", "and your account with it", ""},
		"warned":   {"$6$w$h", "", "in 3 days"},
	} {
		a := find(passwd, shadow, name)
		if a == nil || a.password != want.password {
			t.Errorf("%s: got %+v, want the password %q", name, a, want.password)
			continue
		}
		if got := a.refusal(now); !strings.Contains(got, want.refusal) || (want.refusal == "") != (got == "") {
			t.Errorf("%s: refused with %q, want %q", name, got, want.refusal)
		}
		if got := a.notice(now); want.refusal == "" && (!strings.Contains(got, want.notice) || (want.notice == "") != (got == "")) {
			t.Errorf("%s: notice %q, want %q", name, got, want.notice)
		}
	}
	for _, name := range []string{"", "nosuch", "0", "root:x", "short", "roo"} {
		if a := find(passwd, shadow, name); a != nil {
			t.Errorf("%q: got %+v", name, a)
		}
	}
	for want, text := range map[bool]string{true: passwd, false: "root:x:0:0::/root:/bin/sh\nmissing:*:4:4::/:/bin/sh\n"} {
		if got := Possible(text, "root:!:::::::\n"); got != want {
			t.Errorf("possible: %v, want %v", got, want)
		}
	}
}
