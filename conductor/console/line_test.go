package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/console"
)

// wire is the machine's end of a line.
type wire struct{ net.Conn }

func (wire) Break() error { return nil }

func startLine(t *testing.T, log console.LogConfig) (line *console.Line, machine net.Conn) {
	t.Helper()
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	ours, theirs := net.Pipe()
	ports := make(chan console.Port, 1)
	ports <- wire{ours}
	line = console.Start(func(ctx context.Context, _ error) (console.Port, error) {
		select {
		case p := <-ports:
			return p, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, log.Open("node", logrus.NewEntry(quiet)), logrus.NewEntry(quiet))
	t.Cleanup(func() { line.Stop(); theirs.Close() })
	return line, theirs
}

func say(t *testing.T, machine net.Conn, text []byte) {
	t.Helper()
	machine.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := machine.Write(text); err != nil {
		t.Fatal(err)
	}
}

// readText reads until the text ends so, and counts what was dropped.
func readText(t *testing.T, v *console.Viewer, end string) (text []byte, lost int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !bytes.HasSuffix(text, []byte(end)) {
		item, err := v.Read(ctx)
		if err != nil {
			t.Fatalf("%v after %d characters", err, len(text))
		}
		text, lost = append(text, item.Text...), lost+item.Lost
	}
	return text, lost
}

// The record is of bounded size, and what is in it is what was said, the newest of it.
func TestLogRotates(t *testing.T) {
	dir := t.TempDir()
	line, machine := startLine(t, console.LogConfig{Directory: dir, MaxBytes: 4096, Keep: 2})
	v, err := line.Attach(true)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for i := range 400 {
		text := fmt.Appendf(nil, "line %03d of what a machine says when it boots\n", i)
		said.Write(text)
		say(t, machine, text)
	}
	readText(t, v, "line 399 of what a machine says when it boots\n")
	line.Stop()
	var kept []byte
	for _, name := range []string{"node.log.2", "node.log.1", "node.log"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() > 4096 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		kept = append(kept, b...)
	}
	if !bytes.HasSuffix(said.Bytes(), kept) || len(kept) < 8000 {
		t.Errorf("%d bytes are kept, which are not the end of what was said", len(kept))
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 3 {
		t.Error(files, err)
	}
}

// A viewer who takes nothing costs bounded memory and delays nobody, and is told how much it has missed.
func TestSlowViewer(t *testing.T) {
	line, machine := startLine(t, console.LogConfig{})
	slow, err := line.Attach(false)
	if err != nil {
		t.Fatal(err)
	}
	quick, err := line.Attach(false)
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 1024)
	const chunks = 6 << 20 / (16 << 10)
	for range chunks {
		say(t, machine, chunk)
	}
	go machine.Write([]byte("end."))
	if text, lost := readText(t, quick, "end."); len(text)+lost != chunks*len(chunk)+4 {
		t.Errorf("%d characters and %d lost", len(text), lost)
	}
	text, lost := readText(t, slow, "end.")
	if len(text)+lost != chunks*len(chunk)+4 || lost < 1<<20 || len(text) > 4<<20 {
		t.Errorf("%d characters and %d lost", len(text), lost)
	}
}

// There is room for so many viewers, and for another when one has gone; the end of the line is everybody's.
func TestTooManyViewers(t *testing.T) {
	line, _ := startLine(t, console.LogConfig{})
	var viewers []*console.Viewer
	for {
		v, err := line.Attach(true)
		if errors.Is(err, console.ErrFull) {
			break
		}
		if err != nil || len(viewers) > 100 {
			t.Fatal(len(viewers), err)
		}
		viewers = append(viewers, v)
	}
	viewers[0].Close()
	v, err := line.Attach(true)
	if err != nil {
		t.Fatal(err)
	}
	line.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for err == nil {
		_, err = v.Read(ctx)
	}
	if !errors.Is(err, console.ErrStopped) {
		t.Error(err)
	}
	if _, err := line.Attach(true); !errors.Is(err, console.ErrStopped) {
		t.Error(err)
	}
}
