package tests

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Every manual page is free of what man(1) or mandoc(1) warn of, where they are.
func TestManualPagesAreSound(t *testing.T) {
	pages, err := filepath.Glob("../docs/man/*.[1578]")
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	checkers := [][]string{
		{"man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"},
		{"mandoc", "-T", "lint", "-W", "error"},
	}
	found := false
	for _, checker := range checkers {
		if _, err := exec.LookPath(checker[0]); err != nil {
			continue
		}
		found = true
		for _, page := range pages {
			checkPage(t, checker, page)
		}
	}
	if !found {
		t.Skip("needs man or mandoc: apt-get install man-db")
	}
}

func checkPage(t *testing.T, checker []string, page string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, checker[0], append(checker[1:], page)...)
	cmd.Env = append(os.Environ(), "MANROFFSEQ=", "LC_ALL=C.UTF-8")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Run(); err != nil || complaints.Len() > 0 {
		t.Errorf("%s %s: %v\n%s", checker[0], page, err, &complaints)
	}
}

// What a page, the README or an example refers to exists.
func TestManualPagesReferToPagesThatExist(t *testing.T) {
	texts, _ := filepath.Glob("../docs/man/*.[1578]")
	for _, pattern := range []string{"../README.md", "../examples/*/README.md", "../docs/*.md", "../units/*.service"} {
		more, err := filepath.Glob(pattern)
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(more), err)
		}
		texts = append(texts, more...)
	}
	reference := regexp.MustCompile(`\b(cocker[a-z.-]*)(?:\\fP)? ?\(([1578])\)`)
	for _, file := range texts {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reference.FindAllStringSubmatch(strings.ReplaceAll(string(text), `\-`, "-"), -1) {
			if _, err := os.Stat("../docs/man/" + m[1] + "." + m[2]); err != nil {
				t.Errorf("%s refers to %s(%s), which is no page", file, m[1], m[2])
			}
		}
	}
}

// Every row of docs/lifecycle.md names tests that exist, and what they are about.
func TestEveryEventHasATest(t *testing.T) {
	page, err := os.ReadFile("../docs/lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	sources, _ := filepath.Glob("*_test.go")
	images, _ := filepath.Glob("../image/*/*_test.go")
	for _, source := range append(sources, images...) {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			exists[m[1]] = true
		}
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "event" {
			continue
		}
		rows++
		tests := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) != 3 || len(tests) == 0 {
			t.Errorf("not an event, what happens, and its tests: %s", line)
		}
		for _, m := range tests {
			if !exists[m[1]] {
				t.Errorf("there is no %s, named by: %s", m[1], line)
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d rows", rows)
	}
}

// docs/dependencies.md has a line for each library that cocker imports, which says
// why, and one for each that only comes with those; and none for others.
func TestEveryDependencyHasAReason(t *testing.T) {
	page, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct, others, _ := strings.Cut(string(page), "\n## Indirect\n")
	gotDirect, gotOthers := listedModules(direct), listedModules(others)
	wantDirect, wantOthers := requiredModules(t)
	compare := func(what string, want, got map[string]string) {
		for module := range want {
			if got[module] == "" {
				t.Errorf("%s is required and %s, but not listed so with a reason", module, what)
			}
		}
		for module := range got {
			if _, ok := want[module]; !ok {
				t.Errorf("%s is listed, but not required and %s", module, what)
			}
		}
	}
	compare("imported by cocker", wantDirect, gotDirect)
	compare("imported by libraries only", wantOthers, gotOthers)
}

// listedModules reads the rows "| `module` | reason | ..." of a table.
func listedModules(text string) map[string]string {
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|([^|]+)\\|")
	modules := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		modules[m[1]] = strings.TrimSpace(m[2])
	}
	return modules
}

// requiredModules reads go.mod, and sorts its libraries by whether a package or a
// test of cocker imports them.
func requiredModules(t *testing.T) (direct, others map[string]string) {
	t.Helper()
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	imports, err := exec.Command("go", "list", "-test", "-f", `{{range .Imports}}{{.}}{{"\n"}}{{end}}`, module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	direct, others = map[string]string{}, map[string]string{}
	required := regexp.MustCompile(`(?m)^(?:require)?[\t ]+(\S+) v`)
	for _, m := range required.FindAllStringSubmatch(string(gomod), -1) {
		if regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(m[1]) + `(/.*)?$`).Match(imports) {
			direct[m[1]] = ""
		} else {
			others[m[1]] = ""
		}
	}
	return direct, others
}

// Every row of docs/security.md that promises something names tests that exist, and the
// table at the end is what tests/probe tries today.
func TestEveryPromiseHasATest(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := existingTests(t)
	promises, compared, found := strings.Cut(string(page), "<!-- table: make compare-security -->")
	if !found {
		t.Error("there is no table of make compare-security")
	}
	rows := 0
	for line := range strings.Lines(promises) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "what" || cells[0] == "class" || cells[0] == "who" {
			continue
		}
		tests := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(tests) == 0 && !strings.Contains(promises[strings.Index(promises, "## The threat model"):strings.Index(promises, "## What confines")], line) {
			t.Errorf("a promise without a test: %s", line)
		}
		rows += min(len(tests), 1)
		for _, m := range tests {
			if !exists[m[1]] {
				t.Errorf("there is no %s, named by: %s", m[1], line)
			}
		}
	}
	if rows < 30 {
		t.Errorf("%d rows", rows)
	}
	sources := ""
	files, _ := filepath.Glob("probe/*.go")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources += string(text)
	}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(compared, -1)[1:] {
		name := strings.TrimPrefix(strings.TrimPrefix(m[1], "read "), "write ")
		if !strings.Contains(sources, `"`+name+`"`) && !strings.Contains(sources, `"`+m[1]+`"`) {
			t.Errorf("the probe does not try %q any more: make compare-security", m[1])
		}
	}
}

// docs/security.md says so, and a corpus is what "go test" tries without -fuzz.
func TestEveryFuzzTargetHasACorpus(t *testing.T) {
	targets := 0
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			corpus := filepath.Join(filepath.Dir(path), "testdata", "fuzz", m[1])
			if files, err := os.ReadDir(corpus); err != nil || len(files) == 0 {
				t.Errorf("%s has no corpus in %s: %v", m[1], corpus, err)
			}
			targets++
		}
		return err
	})
	if err != nil || targets < 30 {
		t.Errorf("%d targets, %v", targets, err)
	}
}

// existingTests are the tests of all packages.
func existingTests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
