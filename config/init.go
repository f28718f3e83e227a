package config

// checkInit reports what does not fit an init of the image: it is root's, starts at the
// root directory, and decides itself who else runs what.
func (b *builder) checkInit(entries []*entry) {
	if b.c.Init != InitImage {
		return
	}
	for _, key := range []string{"user", "workdir"} {
		if e := find(entries, "", key); e != nil {
			b.fail(e, nil, `has no effect with init = "image": the image's init runs as root and starts its services itself; leave it out`)
		}
	}
}
