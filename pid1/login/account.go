// Package login is login(1) for containers that have none: it asks for a name and a
// password on a terminal, and compares them with what passwd(5) and shadow(5) of the
// container say, which are texts to it. The caller starts the shell. It imports nothing
// of cocker, as it is a part of cocker-init; what it uses of memory a process of its own
// uses, which ends.
package login

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// account is what the databases say of a user. Days are those since 1970; -1: not said.
type account struct {
	name     string
	uid      string
	password string // a hash; "": none is needed; else nobody can log in

	changed, maximum, warning, inactive, expires int
}

// find looks a user up; nil: there is none.
func find(passwd, shadow, name string) *account {
	if name == "" {
		return nil
	}
	entry := line(passwd, name)
	if len(entry) < 7 {
		return nil
	}
	a := &account{name: name, uid: entry[2], password: entry[1], changed: -1, maximum: -1, warning: -1, inactive: -1, expires: -1}
	if a.password != "x" { // shadow(5) is for those with an x only
		return a
	}
	a.password = "*"
	if entry = line(shadow, name); len(entry) < 8 {
		return a
	}
	a.password = entry[1]
	for i, field := range []*int{2: &a.changed, 4: &a.maximum, 5: &a.warning, 6: &a.inactive, 7: &a.expires} {
		if field == nil {
			continue
		}
		if days, err := strconv.Atoi(entry[i]); err == nil {
			*field = days
		}
	}
	return a
}

// line gives the fields of the first line that begins with a name.
func line(database, name string) []string {
	for text := range strings.Lines(database) {
		if fields := strings.Split(strings.TrimSuffix(text, "\n"), ":"); fields[0] == name {
			return fields
		}
	}
	return nil
}

// Possible tells whether anybody at all can log in.
func Possible(passwd, shadow string) bool {
	for text := range strings.Lines(passwd) {
		name, _, _ := strings.Cut(text, ":")
		if a := find(passwd, shadow, name); a != nil && (a.password == "" || known(a.password)) {
			return true
		}
	}
	return false
}

// check compares a password with the account's. For a user that does not exist, or has
// no password that could match, it takes as long as for one who has.
func (a *account) check(password, stranger string) bool {
	if a == nil || !known(a.password) {
		matches(stranger, password)
		return false
	}
	return matches(a.password, password)
}

// strangers' passwords are compared with the first hash that there is, or this one.
const noHash = "$6$Qn1Zb5TCkq7yDdYs$"

func hashForStrangers(passwd, shadow string) string {
	for _, database := range []string{shadow, passwd} {
		for text := range strings.Lines(database) {
			if fields := strings.Split(text, ":"); len(fields) > 1 && known(fields[1]) {
				return fields[1]
			}
		}
	}
	return noHash
}

// refusal is why somebody who has given the right password may not log in on a day; "":
// they may. What login(1) would let the user do then, choose another password, this one
// can not.
func (a *account) refusal(now time.Time) string {
	today := int(now.Unix() / (24 * 60 * 60))
	age := today - a.changed
	switch {
	case a.expires >= 0 && today >= a.expires:
		return "Your account has expired."
	case a.changed == 0:
		return "Your password must be changed before you can log in."
	case a.changed < 0 || a.maximum < 0 || age <= a.maximum:
		return ""
	case a.inactive >= 0 && age > a.maximum+a.inactive:
		return "Your password has expired, and your account with it."
	}
	return "Your password has expired and must be changed before you can log in."
}

// notice is what somebody who logs in has to know about the password.
func (a *account) notice(now time.Time) string {
	left := a.changed + a.maximum - int(now.Unix()/(24*60*60))
	if a.changed <= 0 || a.maximum < 0 || a.warning < 0 || left >= a.warning {
		return ""
	}
	return fmt.Sprintf("Your password will expire in %d days.", left)
}
