package handoff

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// FuzzReports: cocker-init's reports come from inside the container. Whatever comes, the
// launcher gets one of the reports, a reason, or that init is gone.
func FuzzReports(f *testing.F) {
	f.Add([]byte("assembled\nstarted\n"))
	f.Add([]byte("failed mount /proc: no\x1esecond line\n"))
	f.Add([]byte("assembled"))
	f.Fuzz(func(t *testing.T, said []byte) {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		go func() {
			_, _ = writer.Write(said)
			writer.Close()
		}()
		l := NewLauncher(reader)
		err = l.WaitAssembled()
		if err == nil && !bytes.HasPrefix(said, []byte(assembled)) {
			t.Errorf("%q is taken for %q", said, assembled)
		}
		if err := l.wait(started); err == nil && !bytes.Contains(said, []byte(started)) {
			t.Errorf("%q is taken for %q", said, started)
		}
		if errors.Is(err, ErrGone) && bytes.HasPrefix(said, []byte(failed)) {
			t.Errorf("%q is taken for nothing", said)
		}
	})
}

// FuzzPlan reads plans, which are kept in the container's reach, though sealed.
func FuzzPlan(f *testing.F) {
	f.Add([]byte(`{"Command":["sh"],"Capabilities":1,"Processes":[{"Name":"main"}]}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if plan, err := ReadPlan(bytes.NewReader(text)); (plan == nil) != (err != nil) {
			t.Errorf("%q: %v, %v", text, plan, err)
		}
	})
}
