package generator

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// The file of the benchmark has a bit of everything that a usual one has.
const benchmarkFile = `description = "Front-end web server %[1]d"
image   = "registry.example.com/web:1.27"
command = ["nginx", "-g", "daemon off;"]

[environment]
TZ = "Asia/Shanghai"

[network]
ports   = ["%[2]d:80"]

[[mount]]
type = "bind"
source = "/srv/www"
target = "/usr/share/nginx/html"
read_only = true

[resources]
memory_max = "512M"
cpu_quota  = "50%%"
tasks_max  = 512

[unit]
after = ["cocker-db.service"]
[service]
Restart = "on-failure"
[install]
wanted_by = ["multi-user.target"]
`

// memoryDir is a directory in memory where there is one, as /run is.
func memoryDir(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "cocker-generator-")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// BenchmarkThousandFiles is a whole run for 1000 containers; at most 40 ms are
// wanted.
func BenchmarkThousandFiles(b *testing.B) {
	etc, run := b.TempDir(), memoryDir(b)
	if err := os.Mkdir(filepath.Join(etc, "containers"), 0o755); err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		text := fmt.Sprintf(benchmarkFile, i, 10000+i)
		if err := os.WriteFile(filepath.Join(etc, "containers", fmt.Sprintf("web%d.toml", i)), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as Run
	n := 0
	for b.Loop() {
		g := generator{configDirs: []string{etc}, sink: directory(filepath.Join(run, fmt.Sprint(n))), log: func(line string) { b.Error(line) }}
		n++
		if status := g.run(); status != exitOK {
			b.Fatal("status", status)
		}
	}
}
