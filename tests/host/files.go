package host

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// WriteFile writes a file in the host, and makes its directory.
func (h *Host) WriteFile(t testing.TB, path, content string, mode fs.FileMode) {
	t.Helper()
	const script = `set -e; mkdir -p "$(dirname "$1")"; cat >"$1"; chmod "$2" "$1"`
	ctx, cancel := context.WithTimeout(t.Context(), commandDeadline)
	defer cancel()
	cmd := h.Command(ctx, "/bin/sh", "-c", script, "sh", path, fmt.Sprintf("%o", mode.Perm()))
	result, err := cmd.Exec(strings.NewReader(content))
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("write %s: %v%s", path, err, result.Stderr)
	}
}

// ReadFile returns the content of a file in the host.
func (h *Host) ReadFile(t testing.TB, path string) string {
	t.Helper()
	result := h.Run(t, `cat -- "$1"`, path)
	if result.ExitCode != 0 {
		t.Fatalf("read %s: %s", path, result.Stderr)
	}
	return result.Stdout
}
