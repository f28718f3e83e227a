{
# Runs on the side of the directory, by sh(1), with nonce= and dir= set before. The braces
# around all of it: a program that did not arrive in full is a syntax error and does nothing.
LC_ALL=C
export LC_ALL
tmp=
case $dir in
/*) ;;
*) dir=$HOME/$dir ;;
esac
# A client that is gone is seen as the end of the input, and then the traps run.
trap '' PIPE
trap '[ -z "$tmp" ] || rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

say() { printf '%s\n' "$1"; }
die() {
	say "error $(printf '%s' "$1" | tr '\n' ' ')"
	exit 1
}
size() { stat -c %s "$1" 2>/dev/null || echo $(($(wc -c <"$1"))); }
sum() {
	sum=$(sha256sum <"$1") || return 1
	echo "${sum%% *}"
}
# Older programs sync everything, whatever they are told.
flush() { sync "$@" 2>/dev/null || sync; }

# lock waits for its turn to change what sessions share. flock(1) is in util-linux and in
# busybox, and what it locks the kernel unlocks; without it a lock is a directory, and one
# that is older than a minute was left by a shell that died: it is held for milliseconds.
if command -v flock >/dev/null 2>&1; then
	lock() {
		exec 8>>"$dir/.cocker/lock"
		flock 8
	}
	unlock() { exec 8>&-; }
	# dead takes the lock of a session that nobody holds any more.
	dead() { (flock -n 7) 7>>"$1/alive" 2>/dev/null; }
	live() {
		exec 9>>"$tmp/alive"
		flock -n 9
	}
else
	lock() {
		tries=0
		until mkdir "$dir/.cocker/held" 2>/dev/null; do
			[ "$(age "$dir/.cocker/held")" -le 60 ] || rmdir "$dir/.cocker/held" 2>/dev/null
			tries=$((tries + 1))
			[ $tries -le 120 ] || return 1
			sleep 1
		done
	}
	unlock() { rmdir "$dir/.cocker/held" 2>/dev/null; }
	dead() { [ "$(age "$1")" -gt 86400 ]; }
	live() { :; }
fi
age() {
	changed=$(stat -c %Y "$1" 2>/dev/null) || changed=$(date +%s)
	echo $(($(date +%s) - changed))
}

# prepare makes the directory and one of this session's own in it.
prepare() {
	mkdir -p "$dir/blobs/sha256" "$dir/.cocker" && true >>"$dir/.cocker/lock" && lock || return 1
	for old in "$dir"/.cocker/session-*; do
		if [ -d "$old" ] && dead "$old"; then
			rm -rf "$old"
		fi
	done
	tmp=$dir/.cocker/session-$nonce
	mkdir "$tmp" && true >"$tmp/alive" && live
	result=$?
	unlock
	return $result
}

# receive reads a file from the client: $1 bytes into $2.
receive() {
	say go
	error=$(head -c "$1" 2>&1 >"$2") || die "$error"
	[ "$(size "$2")" = "$1" ] || die "it ended after $(size "$2") of $1 bytes"
}

send() {
	if [ "$2" = 0 ]; then cat "$1"; else tail -c "+$(($2 + 1))" "$1"; fi
	printf '\nend %s\n' "$nonce"
}

put() {
	file=$dir/blobs/sha256/$1
	if [ -f "$file" ] && [ "$(size "$file")" = "$2" ]; then
		say here
		return
	fi
	receive "$2" "$tmp/$1"
	[ "$(sum "$tmp/$1")" = "$1" ] || die "what arrived has another digest"
	flush "$tmp/$1"
	error=$(mv -f "$tmp/$1" "$file" 2>&1) || die "$error"
	say ok
}

# swap puts a new index in the place of the one that has the digest $1.
swap() {
	receive "$2" "$tmp/index.json"
	printf '{"imageLayoutVersion":"1.0.0"}' >"$tmp/oci-layout" && flush "$tmp/index.json" "$tmp/oci-layout" "$dir/blobs/sha256"
	lock || die "another push has held the lock $dir/.cocker/held for two minutes"
	if [ "$(indexsum)" != "$1" ]; then
		unlock
		say changed
		return
	fi
	error=$({
		{ [ -f "$dir/oci-layout" ] || mv -f "$tmp/oci-layout" "$dir/oci-layout"; } &&
			mv -f "$tmp/index.json" "$dir/index.json"
	} 2>&1)
	result=$?
	unlock
	[ $result = 0 ] || die "$error"
	flush "$dir"
	say ok
}
indexsum() { if [ -f "$dir/index.json" ]; then sum "$dir/index.json"; else echo none; fi; }

printf '\ncocker-images-1 %s\n' "$nonce"
while read -r verb a b; do
	case $verb in
	begin)
		command -v sha256sum >/dev/null 2>&1 || die "there is no sha256sum, which coreutils and busybox have"
		# Images can hold secrets: who wants others to read them makes the directory before.
		if error=$({ umask 077 && mkdir -p "$dir"; } 2>&1) && prepare; then
			say ok
		else
			die "${error:-cannot write into $dir}"
		fi
		;;
	index)
		if [ -f "$dir/index.json" ]; then
			say have
			send "$dir/index.json" 0
		else
			say none
		fi
		;;
	stat)
		if [ -f "$dir/blobs/sha256/$a" ]; then
			say "size $(size "$dir/blobs/sha256/$a")"
		else
			say none
		fi
		;;
	get)
		if [ -f "$dir/blobs/sha256/$a" ]; then
			say "size $(size "$dir/blobs/sha256/$a")"
			send "$dir/blobs/sha256/$a" "$b"
		else
			say none
		fi
		;;
	put) put "$a" "$b" ;;
	swap) swap "$a" "$b" ;;
	*) die "unknown verb $verb" ;;
	esac
done
exit 0
}
