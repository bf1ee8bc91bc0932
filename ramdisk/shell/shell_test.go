package shell

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lines gives lines, and notes the prompts.
type lines struct {
	text    []string
	prompts []string
}

func (l *lines) line(prompt string) (string, error) {
	l.prompts = append(l.prompts, prompt)
	if len(l.text) == 0 {
		return "", io.EOF
	}
	line := l.text[0]
	l.text = l.text[1:]
	return line, nil
}

func TestRead(t *testing.T) {
	for text, want := range map[string]struct {
		statements int
		prompts    string
		err        string
	}{
		"echo a; echo b":          {2, "#", ""},
		"":                        {0, "#", ""},
		"for i in 1 2; do|:|done": {1, "#>>", ""},
		"echo 'a|b'":              {1, "#>", ""},
		"echo )":                  {0, "#", ")"},
		"if true":                 {0, "#>", "EOF"},
	} {
		l := &lines{text: strings.Split(text, "|")}
		program, err := read(l, "#")
		statements := 0
		if program != nil && err == nil {
			statements = len(program.Stmts)
		}
		if statements != want.statements || strings.ReplaceAll(strings.Join(l.prompts, ""), " ", "") != want.prompts || (err == nil) != (want.err == "") {
			t.Errorf("%q: %d statements, prompts %q, %v; want %+v", text, statements, l.prompts, err, want)
		}
		if want.err == "EOF" && !errors.Is(err, io.EOF) || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%q: %v, want %s", text, err, want.err)
		}
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"alpha1", "alpha2"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "beta"), 0o755); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"cat a":      "cat alpha",
		"cat alpha1": "cat alpha1 ",
		"cd b":       "cd beta/",
		"cd x":       "cd x",
		"cat *":      "cat *",
		"dd if=b":    "dd if=beta/",
		"cat a[":     "cat a[",
	} {
		i := strings.LastIndexAny(line, " =") + 1
		got, pos := complete(line[:i]+dir+"/"+line[i:], len(line)+len(dir)+1)
		if got = strings.Replace(got, dir+"/", "", 1); got != want || pos != len(want)+len(dir)+1 {
			t.Errorf("%q: %q, cursor at %d; want %q", line, got, pos, want)
		}
	}
}

func FuzzComplete(f *testing.F) {
	for _, seed := range []string{"", "a", "cat /e", "é", "a b\t", "/dev/nul"} {
		f.Add(seed, len(seed))
	}
	f.Fuzz(func(t *testing.T, line string, pos int) {
		if pos < 0 || pos > len(line) {
			return
		}
		if got, at := complete(line, pos); at < 0 || at > len(got) || !strings.HasSuffix(got, line[pos:]) {
			t.Errorf("complete(%q, %d) = %q, %d", line, pos, got, at)
		}
	})
}
