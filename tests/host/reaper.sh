#!/bin/sh
# Cleans up after one test host. It lives as long as the program that started the
# host: standard input is a pipe from there, so its end, however it comes, also by
# kill -9, is the end of the host. Its own network namespace is the host's outside
# world. Arguments: the host's scratch directory and the name of its cgroup below
# descriptor 3, the machine's cgroup2 tree.
scratch=$1 name=$2
while read -r _; do :; done

cgroup=/proc/$$/fd/3/$name
if [ -d "$cgroup" ]; then
	echo 1 >"$cgroup/cgroup.kill"
	# A killed process leaves its cgroup only when its memory is gone.
	tries=3000 # a minute
	while [ -d "$cgroup" ] && [ "$tries" -gt 0 ]; do
		find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
		tries=$((tries - 1))
		sleep 0.02
	done
fi
rm -rf --one-file-system "$scratch"
