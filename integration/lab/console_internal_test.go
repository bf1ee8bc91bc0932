package lab

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testConsole(t *testing.T) *Console {
	t.Helper()
	c, err := newConsole(filepath.Join(t.TempDir(), "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.file.Close() })
	return c
}

func texts(lines []Line) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func TestConsoleLines(t *testing.T) {
	for name, test := range map[string]struct {
		pieces []string
		want   []string
	}{
		"lines":             {[]string{"one\r\ntwo\n"}, []string{"one", "two", ""}},
		"in pieces":         {[]string{"o", "ne\r", "\ntw", "o"}, []string{"one", "two"}},
		"colours":           {[]string{"\x1b[1;31mred\x1b[0m rest\n"}, []string{"red rest", ""}},
		"sequence in parts": {[]string{"a\x1b", "[", "0", "mb\n"}, []string{"ab", ""}},
		"firmware's places": {[]string{"\x1b[2J\x1b[01;01HStart PXE\x1b[02;01HDone"}, []string{"Start PXE", "Done"}},
		"two-byte escape":   {[]string{"\x1bcReset\n"}, []string{"Reset", ""}},
		"umlaut":            {[]string{"gr\xc3", "\xbcn\n"}, []string{"grün", ""}},
		"long":              {[]string{strings.Repeat("x", maxLineLength+1)}, []string{strings.Repeat("x", maxLineLength), "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConsole(t)
			for _, p := range test.pieces {
				c.take([]byte(p), time.Now())
			}
			if diff := cmp.Diff(test.want, texts(c.Lines(0))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConsoleTimes(t *testing.T) {
	c := testConsole(t)
	begun, later := time.Unix(100, 0), time.Unix(200, 0)
	c.take([]byte("Configuring..."), begun)
	c.take([]byte(" ok\nnext"), later)
	want := []Line{{Number: 0, Time: begun, Text: "Configuring... ok"}, {Number: 1, Time: later, Text: "next"}}
	if diff := cmp.Diff(want, c.Lines(0)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestConsoleForgetsTheOldest(t *testing.T) {
	c := testConsole(t)
	for range maxLines + 10 {
		c.take([]byte("line\n"), time.Now())
	}
	lines := c.Lines(0)
	if len(lines) > maxLines || lines[len(lines)-1].Number != maxLines+10 {
		t.Errorf("%d lines in memory, the last one is number %d", len(lines), lines[len(lines)-1].Number)
	}
	if got := c.Lines(maxLines + 5); len(got) != 6 || got[0].Number != maxLines+5 {
		t.Errorf("lines from %d on: %d, the first is number %d", maxLines+5, len(got), got[0].Number)
	}
}

func TestConsoleWaitFor(t *testing.T) {
	c := testConsole(t)
	c.take([]byte("login: root\n"), time.Now())
	mark := c.Mark()
	found := make(chan Line, 1)
	go func() {
		l, err := c.WaitFor(t.Context(), mark, regexp.MustCompile("login: $"))
		if err != nil {
			t.Error(err)
		}
		found <- l
	}()
	c.take([]byte("booting\nlog"), time.Now())
	c.take([]byte("in: "), time.Now()) // a prompt has no line end
	if l := <-found; l.Number != mark+1 {
		t.Errorf("found line %d, want %d", l.Number, mark+1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.WaitFor(ctx, mark, regexp.MustCompile("never")); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"booting"`) {
		t.Errorf("error %v, want one that quotes the last lines", err)
	}
}

func TestConsoleFollowers(t *testing.T) {
	c := testConsole(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c.take([]byte("past\n"), time.Now())
	var each []string
	var copied bytes.Buffer
	done := make(chan struct{}, 2)
	go func() {
		c.Each(ctx, 0, func(l Line) bool {
			each = append(each, l.Text)
			return len(each) < 3
		})
		done <- struct{}{}
	}()
	go func() {
		_ = c.CopyTo(ctx, writerFunc(func(p []byte) (int, error) {
			copied.Write(p)
			if strings.HasSuffix(copied.String(), "last\n") {
				return 0, errors.New("enough")
			}
			return len(p), nil
		}), 2)
		done <- struct{}{}
	}()
	c.take([]byte("pres"), time.Now())
	c.take([]byte("ent\nlast\n"), time.Now())
	<-done
	<-done
	if diff := cmp.Diff([]string{"past", "present", "last"}, each); diff != "" {
		t.Errorf("Each (-want +got):\n%s", diff)
	}
	if got := copied.String(); got != "st\npresent\nlast\n" {
		t.Errorf("CopyTo wrote %q", got)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("typed on a machine that is off")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func FuzzConsole(f *testing.F) {
	f.Add([]byte("\x1b[1;31mred\x1b[0m\r\n"))
	f.Add([]byte("\x1b[2J\x1b[01;01Hat a place\x1b[999999;9"))
	f.Fuzz(func(t *testing.T, p []byte) {
		whole, pieces := testConsole(t), testConsole(t)
		now := time.Unix(1, 0)
		whole.take(p, now)
		for i := range p {
			pieces.take(p[i:i+1], now)
		}
		if diff := cmp.Diff(whole.Lines(0), pieces.Lines(0)); diff != "" {
			t.Errorf("in pieces it reads differently:\n%s", diff)
		}
		for _, l := range whole.Lines(0) {
			if strings.ContainsAny(l.Text, "\x1b\n\r") || len(l.Text) > maxLineLength {
				t.Errorf("line %q", l.Text)
			}
		}
	})
}
