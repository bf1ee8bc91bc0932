package rescue

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// openssl hashes with another implementation of crypt(3).
func openssl(t testing.TB, method, salt, password string) string {
	t.Helper()
	cmd := exec.Command("openssl", "passwd", method, "-salt", salt, "-stdin")
	cmd.Stdin = strings.NewReader(password + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl, the oracle of this test: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// TestPassword checks hashes of OpenSSL, and the vectors of the specification with other
// rounds (https://www.akkadia.org/drepper/SHA-crypt.txt).
func TestPassword(t *testing.T) {
	hashes := map[string]string{
		"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5":                                                               "Hello world!",
		"$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA":                                            "Hello world!",
		"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1":                    "Hello world!",
		"$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.": "Hello world!",
		"$5$rounds=1400$anotherlongsalts$Rx.j8H.h8HjEDGomFU8bDkXm3XIUnzyxf12oP84Bnq1":                                             "a very much longer text to encrypt.  This one even stretches over morethan one line.",
	}
	for _, password := range []string{"x", "secret word", "päßwörd", strings.Repeat("long", 60)} {
		for _, method := range []string{"-5", "-6"} {
			hashes[openssl(t, method, "Sa./lt"+method[1:], password)] = password
		}
	}
	for hash, password := range hashes {
		p, err := parsePassword(hash)
		if err != nil {
			t.Errorf("%s: %v", hash, err)
			continue
		}
		if !p.Match("rescue", password) {
			t.Errorf("%s: %q is refused", hash, password)
		}
		for _, wrong := range [][2]string{{"rescue", password + "x"}, {"rescue", ""}, {"admin", password}, {"rescue", hash}} {
			if p.Match(wrong[0], wrong[1]) {
				t.Errorf("%s: %q is accepted", hash, wrong)
			}
		}
	}
}

func FuzzParsePassword(f *testing.F) {
	for _, seed := range []string{
		"", "x", "$5$", "$5$a$", "$5$rounds=999999999$salt$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8",
		"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc8", "$6$$" + strings.Repeat("a", 86), "$2b$12$abc", "secret",
		"$5$rounds=1000$$" + strings.Repeat(".", 43), "$y$j9T$x$y",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		p, err := parsePassword(hash)
		if err != nil {
			if !errors.Is(err, ErrHash) || len(hash) > 3 && strings.Contains(err.Error(), hash) {
				t.Errorf("%q: %v", hash, err)
			}
			return
		}
		if strings.Contains(hash, "rounds=") && !strings.Contains(hash, "rounds=1000$") {
			return // takes long
		}
		if p.Match("rescue", "password") && p.Match("rescue", "other") {
			t.Errorf("%q accepts all", hash)
		}
	})
}

func TestReadPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	if _, err := ReadPassword(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for content, ok := range map[string]bool{openssl(t, "-5", "s", "x"): true, "x": false, strings.Repeat("$", 1<<20): false} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPassword(path); ok != (err == nil) {
			t.Errorf("%.20q: %v", content, err)
		}
	}
}

// fakeTerminal notes what is done to it.
type fakeTerminal struct {
	screen bytes.Buffer
}

func (f *fakeTerminal) echo(on bool) error {
	f.screen.WriteString(map[bool]string{true: "<echo>", false: "<no echo>"}[on])
	return nil
}

func (f *fakeTerminal) forget() error {
	f.screen.WriteString("<forget>")
	return nil
}

func TestPrompter(t *testing.T) {
	tty := &fakeTerminal{}
	p := prompter{
		in: strings.NewReader("\nrescue\nwrong\nrescue\nright\nrest"), out: &tty.screen, terminal: tty,
		match: func(user, password string) bool { return user == "rescue" && password == "right" },
		pause: func() { tty.screen.WriteString("<pause>") },
	}
	if err := p.run("node-7"); err != nil {
		t.Fatal(err)
	}
	const prompt = "<echo>\nnode-7 rescue login: "
	want := prompt + prompt + "<no echo>Password: <echo><pause>\nLogin incorrect\n<forget>" + prompt + "<no echo>Password: <echo>"
	if diff := cmp.Diff(want, tty.screen.String()); diff != "" {
		t.Errorf("screen (-want +got):\n%s", diff)
	}
	if rest, _ := io.ReadAll(p.in); string(rest) != "rest" {
		t.Errorf("left for the shell: %q", rest)
	}
	if err := p.run("node-7"); !errors.Is(err, io.EOF) {
		t.Errorf("at the end of input: %v", err)
	}
}

func FuzzReadLine(f *testing.F) {
	for _, seed := range []string{"", "a", "a\n", "\n", "\r\n", "a\x00b\nc", strings.Repeat("x", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const limit = 16
		r := strings.NewReader(text)
		line, err := readLine(r, limit)
		end := strings.IndexAny(text, "\r\n")
		switch {
		case end < 0 && !errors.Is(err, io.EOF):
			t.Errorf("%q: %q, %v; want the end", text, line, err)
		case end >= 0 && (err != nil || line != text[:min(end, limit)] || r.Len() != len(text)-end-1):
			t.Errorf("%q: %q, %v, %d left", text, line, err, r.Len())
		}
	})
}
