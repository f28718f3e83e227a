#!/bin/sh
# Prints the licenses of the libraries that the linker puts into the programs, and
# of Go's own: they ask that whoever has the programs has these texts too.
set -eu
GO=${GO:-go}

license() { # NAME DIRECTORY
	for file in "$2"/LICEN[CS]E* "$2"/COPYING* "$2"/NOTICE* "$2"/PATENTS*; do
		[ -f "$file" ] || continue
		printf '%s: %s\n\n' "$1" "${file##*/}"
		cat "$file"
		printf '\n\n'
	done
}

"$GO" list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' \
	./cmd/cocker ./cmd/cocker-generator ./cmd/cocker-launch ./cmd/cocker-init ./cmd/cocker-dns |
	sort -u | while read -r path version dir; do
		text=$(license "$path $version" "$dir")
		[ -n "$text" ] || { echo "$path: no license in $dir" >&2; exit 1; }
		printf '%s\n\n' "$text"
	done
license "Go $("$GO" env GOVERSION)" "$("$GO" env GOROOT)"
