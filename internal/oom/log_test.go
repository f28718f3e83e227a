package oom

import (
	"strings"
	"testing"
)

// As the kernel of Debian 13 (6.12) wrote them, with names and paths of a container
// that wants to be mistaken.
const (
	summary = "6,1017,219482523,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=cocker@a.service,mems_allowed=0," +
		"oom_memcg=/machine.slice/cocker@a.service,task_memcg=/machine.slice/cocker@a.service,task=dd,pid=447,uid=2118123520\n"
	killed = "3,1018,219483060,-;Memory cgroup out of memory: Killed process 447 (dd) total-vm:207104kB, anon-rss:62256kB, " +
		"file-rss:1276kB, shmem-rss:0kB, UID:2118123520 pgtables:168kB oom_score_adj:0\n SUBSYSTEM=x\n"
	ofHost = "3,2001,9,-;Out of memory: Killed process 9 (a) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:2118123599 pgtables:1kB oom_score_adj:0\n"
	global = "6,2000,8,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom," +
		"task_memcg=/machine.slice/cocker@a.service/sub,task=a,pid=9,uid=0\n"
	odd = "6,3,3,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg=/x," +
		"task_memcg=/machine.slice/cocker@a.service,task=,pid=1,uid=0,pid=77,uid=2118123520\n"
	oddKilled = "3,4,4,-;Memory cgroup out of memory: Killed process 78 () total-vm: UID:0 ) total-vm:1kB, anon-rss:1kB, UID:2118123520 pgtables:1kB oom_score_adj:0\n"
)

func TestParseRecord(t *testing.T) {
	mine := container{"/machine.slice/cocker@a.service", 2118123520}
	tests := []struct {
		name, record string
		of           container
		want         entry
		ok           bool
	}{
		{"summary", summary, mine, entry{Victim{"dd", 447}, false, 0}, true},
		{"summary, by cgroup", summary, container{cgroup: mine.cgroup}, entry{Victim{"dd", 447}, false, 0}, true},
		{"summary, by id", summary, container{idBase: mine.idBase}, entry{Victim{"dd", 447}, false, 0}, true},
		{"killed, by id", killed, mine, entry{Victim{"dd", 447}, false, 0}, true},
		{"killed by the host's limit", ofHost, mine, entry{Victim{"a", 9}, true, 0}, true},
		{"in a cgroup below", global, mine, entry{Victim{"a", 9}, true, 0}, true},
		{"a name like a line", odd, mine, entry{Victim{",pid=1,uid=0", 77}, false, 0}, true},
		{"a name like a line's end", oddKilled, mine, entry{Victim{") total-vm: UID:0 ", 78}, false, 0}, true},

		{"another container, by cgroup", summary, container{cgroup: "/machine.slice/cocker@a"}, entry{}, false},
		{"another container, by id", killed, container{cgroup: "/x", idBase: 2118123520 - 65536}, entry{}, false},
		{"nothing is known of the container", killed, container{}, entry{}, false},
		{"written by a program", "14" + killed[1:], mine, entry{}, false},
		{"cut off", killed[:60], mine, entry{}, false},
		{"cut off summary", summary[:len(summary)-40], mine, entry{}, false},
		{"something else", "6,1,1,-;EXT4-fs (vda): mounted\n", mine, entry{}, false},
		{"nothing", "", mine, entry{}, false},
	}
	for _, tt := range tests {
		got, ok := parseRecord(tt.record, tt.of)
		if got.sequence = 0; ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestReportText(t *testing.T) {
	stress := []Victim{{"first", 41}, {"stress", 42}}
	tests := []struct {
		report Report
		want   string
	}{
		{Report{Kills: 1, Limit: "64M", Victims: stress[1:]}, "out of memory (memory_max 64M): process stress (pid 42)"},
		{Report{Kills: 3, Limit: "64M", Victims: stress}, "out of memory (memory_max 64M): process stress (pid 42) and 2 before"},
		{Report{Kills: 1, Victims: stress[1:]}, "out of memory: process stress (pid 42)"},
		{Report{Kills: 1, Host: true, Limit: "64M", Victims: stress[1:]}, "the host is out of memory: process stress (pid 42)"},
		{Report{Kills: 2, Limit: "1G"}, "out of memory (memory_max 1G): 2 processes"},
	}
	for _, tt := range tests {
		if got := tt.report.String(); got != tt.want {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
}

// As syslog(2) gives the same records.
func TestAsRecord(t *testing.T) {
	mine := container{"/machine.slice/cocker@a.service", 2118123520}
	_, text, _ := strings.Cut(summary, ";")
	for _, line := range []string{"<6>[  219.482523] " + text, "<6>" + text} {
		if got, ok := parseRecord(asRecord(line), mine); !ok || got != (entry{Victim{"dd", 447}, false, 0}) {
			t.Errorf("%q: got %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"<14>[  219.482523] " + text, "", "\n", "<", "<6>[", "] " + text} {
		if got, ok := parseRecord(asRecord(line), mine); ok {
			t.Errorf("%q: got %+v", line, got)
		}
	}
	if got := later([]entry{{}, {}}, 17); len(got) != 2 {
		t.Errorf("of records without numbers %d are left", len(got))
	}
}

// Both ways give the same of this kernel's log, if it may be read.
func TestReadAll(t *testing.T) {
	log, err := OpenLog()
	if err != nil {
		t.Skip("needs the kernel's log: ", err)
	}
	defer log.Close()
	text, err := readAll()
	if err != nil || log.fd < 0 {
		t.Skip("needs the kernel's log: ", err)
	}
	has := map[string]bool{}
	(&Log{fd: -1, text: text}).records(func(record string) {
		_, text, _ := strings.Cut(record, ";")
		has[strings.TrimSpace(text)] = true
	})
	missing, all := 0, 0
	log.records(func(record string) {
		_, text, _ := strings.Cut(record, ";")
		text, _, _ = strings.Cut(text, "\n")
		if all++; !has[strings.TrimSpace(text)] {
			missing++ // it came in between, or has odd characters
		}
	})
	if all == 0 || missing > all/2 {
		t.Errorf("%d of %d records are missing", missing, all)
	}
}

// What was told is known by the numbers of the records, whatever is killed again under
// the same number of a process.
func TestLater(t *testing.T) {
	var all []entry
	for _, record := range []string{odd, oddKilled, summary, killed} {
		e, ok := parseRecord(record, container{idBase: 2118123520, cgroup: "/machine.slice/cocker@a.service"})
		if !ok {
			t.Fatal(record)
		}
		all = append(all, e)
	}
	for sequence, want := range map[uint64]int{0: 4, 2: 4, 3: 3, 4: 2, 1017: 1, 1018: 0, 2000: 0} {
		if got := later(all, sequence); len(got) != want {
			t.Errorf("behind %d: %v, want %d", sequence, got, want)
		}
	}
}

func TestMark(t *testing.T) {
	want := mark{17, 1 << 40}
	if got := parseMark(want.String()); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, text := range []string{"", "17", "x 17", "17 x", "17 99999999999999999999"} {
		if got := parseMark(text); got != (mark{}) {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, record := range []string{summary, killed, ofHost, global, odd, oddKilled} {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, record string) {
		if e, ok := parseRecord(record, container{"/a", 1 << 30}); ok && e.PID <= 0 {
			t.Errorf("%q: %+v", record, e)
		}
	})
}
