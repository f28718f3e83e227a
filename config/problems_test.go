package config

import (
	"strings"
	"testing"
)

// Every problem must come with its line and say what is wrong; the tests look
// for the decisive part of the text.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // "LINE: part of the text"
	}{
		{"", []string{": no image"}},
		{"image = \"a\"\nnetwrok = 1", []string{`2: unknown key "netwrok" (did you mean "network"?)`}},
		{"image = \"a\"\n[netwrok]\nmode=\"host\"", []string{`2: unknown key "netwrok" (did you mean "network"?)`}},
		{"image = \"a\"\n[network]\nmoed=\"host\"", []string{`3: unknown key "moed" in network (did you mean "mode"?)`}},
		{"image = \"a\"\nports = []", []string{`2: unknown key "ports" (it belongs below [network])`}},
		{"image = \"a\"\nnetwork.moed = \"host\"", []string{`2: unknown key "moed" in network`}},
		{"image = \"a\"\nnetwork = 1", []string{`2: network: must be a table`}},
		{"image = \"a\"\n[[network]]\nmode=\"none\"", []string{`2: network: must be a table`}},
		{"image = \"a\"\n[image2]\nx=1", []string{`2: unknown key "image2" (did you mean "image"?)`}},
		{"image = \"a\"\nimages = [\"a\"]", []string{`2: images: the file sets "image" too`}},
		{"image = \"a\"\n[network\n", []string{"2: not valid TOML"}},
		{"image = \"a\"\nuser =\n\n", []string{"2: not valid TOML"}},
		{"image = 1", []string{"1: image: must be a string, not an integer"}},
		{"image = \"A b\"", []string{`1: image: "A b" is no image name`}},
		{"images = []", []string{"1: images: is empty"}},
		{"images = [\n\"a\",\n\"b c\",\n]", []string{`3: images[1]: "b c" is no image name`}},
		{"image = \"a\"\npull = true", []string{"2: pull: must be a string, not a boolean"}},
		{"image = \"a\"\npull = \"newer\"", []string{`2: pull: "newer" is not one of "missing" (images that are not here are pulled before the start), "always" and "never"`}},
		{"image = \"team/a:1\"\npull = \"always\"", []string{`2: pull: there is nothing to pull: "team/a:1" does not say where from; write REGISTRY/team/a:1`}},
		{"image = \"a.b/a\"\npull_timeout = 1.5", []string{`2: pull_timeout: must be a time such as "30min", or "infinity", not a float`}},
		{"image = \"a.b/a\"\npull_timeout = 0", []string{`2: pull_timeout: "0" is no time above 0`}},
		{"image = \"a.b/a\"\npull_timeout = \"5 parsecs\"", []string{`2: pull_timeout: "5 parsecs" is no time above 0; write "90s", "30min"`}},
		{"image = \"a\"\ncommand = \"a b\"", []string{`2: command: must be an array of the program and its arguments, such as ["sh", "-c", "a b"]`}},
		{"image = \"a\"\ncommand = []", []string{"2: command: is empty"}},
		{"image = \"a\"\ncommand = [\"a\", \"\\u0000\"]", []string{"2: command[1]: holds a NUL character"}},
		{"image = \"a\"\ncommand = [\"\"]", []string{"2: command[0]: the program's name is empty"}},
		{"image = \"a\"\ninit = \"systemd\"", []string{`2: init: "systemd" is not one of "cocker"`}},
		{"image = \"a\"\ninit = \"image\"\nuser = \"app\"\nworkdir = \"/srv\"", []string{`3: user: has no effect with init = "image"`, `4: workdir: has no effect with init = "image"`}},
		{"image = \"a\"\nnotify_ready = 1", []string{"2: notify_ready: must be true or false, not an integer"}},
		{"image = \"a\"\nuser = 0", []string{`2: user: must be a string: write "0"`}},
		{"image = \"a\"\nuser = \"70000\"", []string{"2: user: ", "0 to 65534"}},
		{"image = \"a\"\nworkdir = \"srv\"", []string{`2: workdir: "srv" must be an absolute path`}},
		{"image = \"a\"\nworkdir = \"/a/../b\"", []string{`2: workdir: "/a/../b" may not hold ".."`}},
		{"image = \"a\"\nworkdir = \"/a//b/\"", []string{`2: workdir: write "/a//b/" as "/a/b"`}},
		{"image = \"a\"\nhostname = \"a_b\"", []string{`2: hostname: "a_b" is no valid host name`}},
		{"image = \"a\"\nstop_signal = \"SIGTREM\"", []string{`2: stop_signal: "SIGTREM" is no signal (did you mean "SIGTERM"?)`}},
		{"image = \"a\"\nstop_signal = 15", []string{"2: stop_signal: must be the name of a signal"}},
		{"image = \"a\"\ndescription = \"a\\nb\"", []string{`2: description: holds the control character '\n'; write`}},
		{"image = \"a\"\ndescription = 'a\\'", []string{"2: description: ends with a backslash"}},
		{"image = \"a\"\n[environment]\n\"A B\" = \"x\"", []string{`3: environment."A B": is no name of a variable`}},
		{"image = \"a\"\n[environment]\nA = 1.5", []string{"3: environment.A: must be a string, not a float"}},
		{"image = \"a\"\n[network]\nmode = \"nat\"", []string{`3: network.mode: "nat" is not one of "bridge"`}},
		{"image = \"a\"\n[network]\nmode = \"host\"\nports = [\"1:1\"]", []string{`4: network.ports: needs mode = "bridge"`}},
		{"image = \"a\"\n[network]\nports = [\n\"80:80\", # one\n\"80:81\"]", []string{"5: network.ports[1]: ", "tcp port 80 of every address is published already"}},
		{"image = \"a\"\n[network]\nports = [80]", []string{`3: network.ports[0]: must be a string with the host's port too: "80:80", or ":80" for any that is free`}},
		{"image = \"a\"\n[[mount]]\ntype = \"bind\"\ntarget = \"/a\"", []string{"2: mount[0]: source is missing"}},
		{"image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/a\"\n[[mount]]\ntype=\"tmpfs\"\ntarget=\"/a\"", []string{`7: mount[1].target: "/a" is the target of an earlier mount`}},
		{"image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\nsource=\"/x\"\ntarget = \"/a\"", []string{"4: mount[0].source: a tmpfs has no source"}},
		{"image = \"a\"\n[[mount]]\ntype = \"bind\"\nsource=\"/x\"\nsize=\"1M\"\ntarget = \"/a\"", []string{"5: mount[0].size: only a tmpfs has a size"}},
		{"image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/proc/x\"", []string{"4: mount[0].target: \"/proc/x\": cocker sets up /proc itself"}},
		{"image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/\"", []string{`4: mount[0].target: "/" is the image`}},
		{"image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/a\"\nsize = \"1X\"", []string{`5: mount[0].size: "1X" is no size`}},
		{"image = \"a\"\n[[mount]]\ntype = \"volume\"\ntarget = \"/a\"", []string{"2: mount[0]: source is missing; name the volume"}},
		{"image = \"a\"\nreload_signal = \"TERM\"", []string{"2: reload_signal: SIGTERM stops a container"}},
		{"image = \"a\"\nreload_signal = \"SIGCHLD\"", []string{"2: reload_signal: SIGCHLD has a meaning of its own"}},
		{"image = \"a\"\nseccomp = \"unconfined\"", []string{`2: seccomp: "unconfined" is none of "default", "none" and the absolute path of a profile`}},
		{"image = \"a\"\nseccomp = \"/etc/../x\"", []string{`2: seccomp: "/etc/../x" may not hold ".."`}},
		{"image = \"a\"\nseccomp = false", []string{`2: seccomp: must be a string, not a boolean`}},
		{"image = \"a\"\nno_new_privileges = \"yes\"", []string{`2: no_new_privileges: must be true or false, not a string`}},
		{"image = \"a\"\nautologin = \"0\"", []string{`2: autologin: "0" is no user: a user logs in by name`}},
		{"image = \"a\"\nautologin = \"a:b\"", []string{`2: autologin: "a:b" is no user: ':' may not be in a name`}},
		{"image = \"a\"\ninit = \"none\"\nautologin = \"root\"", []string{`3: autologin: needs init = "cocker"`}},
		{"image = \"a\"\nreload_signal = \"HUB\"", []string{`2: reload_signal: "HUB" is no signal`}},
		{"image = \"a\"\nreload_command = [\"nginx\", \"-s\", \"reload\"]\nreload_signal = \"HUP\"", []string{"2: reload_command: reload_signal is set too"}},
		{"image = \"a\"\nreload_command = \"reload\"\ninit = \"none\"", []string{`2: reload_command: needs init = "cocker"`}},
		{"image = \"a\"\nreload_command = []", []string{"2: reload_command: is empty"}},
		{"image = \"a\"\nreload_command = \"\"", []string{"2: reload_command: is empty"}},
		{"image = \"a\"\nreload_command = [\"\"]", []string{"2: reload_command[0]: the program's name is empty"}},
		{"image = \"a\"\nreload_command = [\"a\", 1]", []string{"2: reload_command[1]: must be a string"}},
		{"image = \"a\"\nreload_command = 1", []string{"2: reload_command: must be an array"}},
		{"image = \"a\"\n[[template]]\nx = 1", []string{`unknown key "x" in template[0]; known are source`}},
		{"image = \"a\"\n[template]\nsource = \"/a\"", []string{"2: template: must be an array of tables, not a table; write [[template]]"}},
		{"image = \"a\"\n[[template]]\ntarget = \"/a\"", []string{"2: template[0]: source is missing"}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"", []string{"2: template[0]: target is missing"}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\nhost_source = \"/b\"\ntarget=\"/c\"", []string{"4: template[0].host_source: source is set too"}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/a\"", []string{`4: template[0].target: "/a" is the template itself`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\n[[template]]\nsource = \"/b\"\ntarget=\"/c\"", []string{`7: template[1].target: "/c" is the target of an earlier template`}},
		{"image = \"a\"\n[[template]]\nsource = \"../a\"\ntarget=\"/c\"", []string{`3: template[0].source: "../a" must be an absolute path`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/etc/../proc/c\"", []string{`4: template[0].target: "/etc/../proc/c" may not hold ".."`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/sys/c\"", []string{"4: template[0].target: \"/sys/c\": cocker sets up /sys itself"}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nvalues = 1", []string{"5: template[0].values: must be a table"}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nvalues = { \"${A\" = 1, \"A B\" = 2 }", []string{`"A B": is no key of a template`, `"${A": is no key of a template`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nvalues = { \"${A}\" = 1, A = 2 }", []string{`"A" is written in both ways`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nvalues = { \"cocker.name\" = 1 }", []string{`the keys that begin with "cocker." are cocker's own`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nvalues = { A = 1.5 }", []string{"template[0].values.A: must be a string, not a float"}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nvalues.A = 1\ncredentials.A = \"x\"", []string{`"A" has a value in values too`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\ncredentials.A = \"../x\"", []string{`"../x" is no name of a credential`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\ncredentials.A = \"..\"", []string{`".." is no name of a credential`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nmode = \"4755\"", []string{"template[0].mode: 4755: a filled-in file is given no set-user-ID"}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nowner = \"www\"", []string{`template[0].owner: "www" is not "UID"`}},
		{"image = \"a\"\n[[template]]\nsource = \"/a\"\ntarget=\"/c\"\nowner = \"1:70000\"", []string{`template[0].owner: "1:70000" is not "UID"`}},
		{"image = \"a\"\n[[mount]]\ntype = \"volume\"\nsource = \"..\"\ntarget = \"/a\"", []string{`4: mount[0].source: ".." is no valid volume name`}},
		{"image = \"a\"\n[[mount]]\ntype = \"volume\"\nsource = \"/a\"\ntarget = \"/a\"", []string{`4: mount[0].source: "/a" is a path and no volume name`}},
		{"image = \"a\"\n[[mount]]\ntype = \"volume\"\nsource = \"a\"\ntarget = \"/a\"\nidmap = true\nsize = 1\nmode = \"1777\"", []string{"6: mount[0].idmap: a volume is always mapped", "7: mount[0].size: only a tmpfs", "8: mount[0].mode: only a tmpfs"}},
		{"image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/a\"\nmode = 755\ndisk_max = \"1G\"", []string{"5: mount[0].mode: must be a string of octal digits", "6: mount[0].disk_max: only a volume has this limit"}},
		{"image = \"a\"\n[[mount]]\ntype = \"tmpfs\"\ntarget = \"/a\"\nmode = \"888\"", []string{`5: mount[0].mode: "888" is no mode`}},
		{"image = \"a\"\n[resources]\ndisk_max = \"4K\"", []string{"3: resources.disk_max: 4K is too little; use 1M or more"}},
		{"image = \"a\"\n[resources]\ndisk_max = \"10%\"", []string{`3: resources.disk_max: "10%" is no size`}},
		{"image = \"a\"\n[[mount]]\ntyp = \"tmpfs\"\ntarget = \"/a\"", []string{`3: unknown key "typ" in mount[0] (did you mean "type"?)`, "2: mount[0]: type is missing"}},
		{"image = \"a\"\n[mount]\ntype = \"tmpfs\"", []string{"2: mount: must be an array of tables"}},
		{"image = \"a\"\nmount = [{type=\"tmpfs\", target=\"/a\"},\n {type=\"x\", target=\"/b\"}]", []string{`3: mount[1].type: "x" is not one of`}},
		{"image = \"a\"\n[resources]\nmemory_max = \"512MB\"", []string{`3: resources.memory_max: "512MB" is no size`}},
		{"image = \"a\"\n[resources]\nmemory_max = 0", []string{`3: resources.memory_max: "0" must be more than 0`}},
		{"image = \"a\"\n[resources]\ncpu_quota = 50", []string{`3: resources.cpu_quota: must be a percentage of one CPU in quotes, such as "50%"`}},
		{"image = \"a\"\n[resources]\ncpu_quota = \"0%\"", []string{`3: resources.cpu_quota: "0%" is out of range`}},
		{"image = \"a\"\n[resources]\ncpu_weight = 10001", []string{"3: resources.cpu_weight: 10001 is out of range; use 1 to 10000"}},
		{"image = \"a\"\n[resources]\ncpus = \"3-1\"", []string{"3: resources.cpus: ", "backwards"}},
		{"image = \"a\"\n[resources]\ncpus = \"8192\"", []string{`3: resources.cpus: "8192": no machine has so many CPUs`}},
		{"image = \"a\"\n[resources]\nmemory_nodes = 0", []string{`3: resources.memory_nodes: must be a string that lists memory nodes, such as "0"`}},
		{"image = \"a\"\n[resources]\nmemory_nodes = \"1024\"", []string{`3: resources.memory_nodes: "1024": no machine has so many memory nodes`}},
		{"image = \"a\"\n[resources]\nmemory_swap_max = \"10%\"", []string{`3: resources.memory_swap_max: "10%" is no size`}},
		{"image = \"a\"\n[resources]\nio_read_bandwidth_max = \"/dev/vda 10M\"", []string{`3: resources.io_read_bandwidth_max: must be an array of strings such as "/dev/vda 10M"`}},
		{"image = \"a\"\n[resources]\nio_read_iops_max = [\n\"/dev/vda 10\",\n\"/dev/vda\"]", []string{`5: resources.io_read_iops_max[1]: must be the path of a disk and a limit`}},
		{"image = \"a\"\n[resources]\nio_read_iops_max = [\"/srv/a b 10\"]", []string{`3: resources.io_read_iops_max[0]: must be the path of a disk and a limit`, "no space"}},
		{"image = \"a\"\n[resources]\nio_read_iops_max = [\"/srv/a'b 10\"]", []string{`3: resources.io_read_iops_max[0]: "/srv/a'b" has the character '`}},
		{"image = \"a\"\n[resources]\nio_read_iops_max = [\"/srv infinity\"]", []string{`3: resources.io_read_iops_max[0]: "infinity" is no limit`}},
		{"image = \"a\"\n[resources]\nio_write_iops_max = [\"vda 10M\"]", []string{`3: resources.io_write_iops_max[0]: "vda" must be an absolute path`}},
		{"image = \"a\"\n[resources]\nio_write_bandwidth_max = [\"/dev/vda 10MB\"]", []string{`3: resources.io_write_bandwidth_max[0]: "10MB" is no limit; write a number and K, M, G or T for powers of 1000`}},
		{"image = \"a\"\n[resources]\nio_write_bandwidth_max = [\"/dev/vda 0\"]", []string{`3: resources.io_write_bandwidth_max[0]: "0" must be more than 0`}},
		{"image = \"a\"\n[resources]\nio_write_bandwidth_max = [\"/srv 1\", \"/srv 2\"]", []string{`3: resources.io_write_bandwidth_max[1]: "/srv" has a limit already`}},
		{"image = \"a\"\n[service]\nIOReadIOPSMax = \"/dev/vda 10\"\n[resources]\nio_read_iops_max = [\"/dev/vda 10\"]", []string{"3: service.IOReadIOPSMax: is set as resources.io_read_iops_max too"}},
		{"image = \"a\"\n[resources]\ntasks_max = 31", []string{`3: resources.tasks_max: 31 are too few`}},
		{"image = \"a\"\n[resources]\nmemory_max = \"8191K\"", []string{`3: resources.memory_max: "8191K" is too little`}},
		{"image = \"a\"\n[resources]\ntasks_max = -1", []string{`3: resources.tasks_max: "-1" is not a number above 0`}},
		{"image = \"a\"\n[unit]\nAfterr = \"x\"", []string{`3: unknown key "Afterr" in unit (did you mean "After"?)`}},
		{"image = \"a\"\n[unit]\nAFTER = \"x\"", []string{`3: unknown key "AFTER" in unit (did you mean "After"?)`}},
		{"image = \"a\"\n[unit]\nafter = \"x\"\nAfter = \"y\"", []string{`4: unit.After: the file sets "after" too`}},
		{"image = \"a\"\n[service]\nprivate_tmp = true", []string{"3: service.private_tmp: PrivateTmp= would confine"}},
		{"image = \"a\"\n[service]\nExecStartPre = [\"a\", \"b\\nExecStart=c\"]", []string{"3: service.ExecStartPre[1]: holds the control character"}},
		{"image = \"a\"\n[service]\nNice = 1.5", []string{"3: service.Nice: must be a string, an integer, true or false, or an array of these, not a float"}},
		{"image = \"a\"\n\n[service.Nice]\na = 1", []string{"3: service.Nice: must be a string, an integer"}},
		{"image = \"a\"\n[service]\nRestart = 'a\\'", []string{"3: service.Restart: ends with a backslash"}},
		{"image = \"a\"\n[service]\nMemoryMax = \"1G\"\n[resources]\nmemory_max = \"1G\"", []string{"3: service.MemoryMax: is set as resources.memory_max too"}},
		{"image = \"a\"\n[install]\nwanted_by = \"multi-user.target\"", []string{"3: install.wanted_by: must be an array of unit names"}},
		{"image = \"a\"\n[install]\nwanted_by = [\"../x.target\"]", []string{`3: install.wanted_by[0]: "../x.target" is no unit name`}},
		{"image = \"a\"\nx = [", []string{"2: not valid TOML: "}},
		{"image = \"a\"\nimage = \"b\"", []string{"2: not valid TOML: "}},
		{"image = \"a\"\n# \xff", []string{"2: invalid UTF-8"}},
	} {
		checkProblem(t, c.text, c.want)
	}
}

func checkProblem(t *testing.T, text string, want []string) {
	t.Helper()
	_, err := Parse("web", "/e/web.toml", text)
	if err == nil {
		t.Errorf("%q: no problem, want %q", text, want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q:\n got %s\nwant %s", text, err, w)
		}
	}
	if strings.Count(err.Error(), "\n")+1 != len(Problems(err)) {
		t.Errorf("%q: a problem is not one line: %s", text, err)
	}
}
