package config

func (b *builder) autologin(e *entry) {
	s, ok := b.plain(e, e.value)
	if !ok {
		return
	}
	problem := badAccount(s)
	if problem == "" && !isLetter(rune(s[0])) && s[0] != '_' {
		problem = "a user logs in by name"
	}
	if problem != "" {
		b.fail(e, nil, "%q is no user: %s", s, problem)
		return
	}
	b.c.Autologin = s
}

// checkAutologin finds a login that cocker's init would have to make, and is not there to.
func (b *builder) checkAutologin(entries []*entry) {
	if e := find(entries, "", "autologin"); e != nil && b.c.Init != InitCocker {
		b.fail(e, nil, "needs init = %q, which makes the login", InitCocker)
	}
}
