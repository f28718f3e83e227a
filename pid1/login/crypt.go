package login

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"
	"strconv"
	"strings"

	"github.com/go-crypt/x/bcrypt"
	"github.com/go-crypt/x/crypt"
	"github.com/go-crypt/x/yescrypt"
)

// formats are the hashes that crypt(5) names and that the tools of Debian, Alpine and
// busybox write. Others are no passwords: an account that has one is locked.
var formats = [...]struct { //nolint:gochecknoglobals // a table
	prefix  string
	matches func(hash, password string) bool
}{
	{"$y$", yescryptMatches},
	{"$6$", func(hash, password string) bool { return shaMatches(sha512.New, "$6$", hash, password) }},
	{"$5$", func(hash, password string) bool { return shaMatches(sha256.New, "$5$", hash, password) }},
	{"$1$", md5Matches},
	{"$2a$", bcryptMatches},
	{"$2b$", bcryptMatches},
	{"$2y$", bcryptMatches},
}

// known tells whether a password can match a hash at all.
func known(hash string) bool {
	for i := range formats {
		if strings.HasPrefix(hash, formats[i].prefix) {
			return true
		}
	}
	return false
}

// matches compares a password with its hash, in a time that does not depend on how much
// of it is right.
func matches(hash, password string) bool {
	for i := range formats {
		if strings.HasPrefix(hash, formats[i].prefix) {
			return formats[i].matches(hash, password)
		}
	}
	return false
}

func yescryptMatches(hash, password string) bool {
	computed, err := yescrypt.Hash([]byte(password), []byte(hash))
	return err == nil && equal(string(computed), hash)
}

func bcryptMatches(hash, password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
}

// The rounds of the two that are made of SHA-2 (crypt(5)).
const (
	defaultRounds = 5000
	minRounds     = 1000
	maxRounds     = 999_999_999
	maxSalt       = 16 // bytes
)

// shaMatches: "$6$rounds=N$SALT$HASH", of which the rounds may be missing.
func shaMatches(algorithm func() hash.Hash, prefix, hash, password string) bool {
	setting, want, found := cutLast(hash[len(prefix):])
	if !found {
		return false
	}
	rounds, salt := defaultRounds, setting
	if text, isSet := strings.CutPrefix(setting, "rounds="); isSet {
		number, rest, _ := strings.Cut(text, "$")
		n, err := strconv.Atoi(number)
		if err != nil {
			return false
		}
		rounds, salt = min(max(n, minRounds), maxRounds), rest
	}
	if len(salt) > maxSalt {
		return false
	}
	return equal(string(crypt.KeySHACrypt(algorithm, []byte(password), []byte(salt), rounds)), want)
}

// md5Matches: "$1$SALT$HASH".
func md5Matches(hash, password string) bool {
	salt, want, found := cutLast(hash[len("$1$"):])
	if !found {
		return false
	}
	return equal(string(crypt.KeyMD5Crypt([]byte(password), []byte(salt))), want)
}

func cutLast(text string) (before, after string, found bool) {
	i := strings.LastIndexByte(text, '$')
	if i < 0 {
		return "", "", false
	}
	return text[:i], text[i+1:], true
}

func equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
