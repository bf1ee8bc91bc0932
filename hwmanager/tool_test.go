package hwmanager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

func shell(script string) Tool { return Tool{Name: "sh", Args: []string{"-c", script}} }

func TestTool(t *testing.T) {
	t.Parallel()
	h := host()
	h.Run = Exec{}
	var lines []string
	tool := shell("read word; echo \"$word $COLOUR\"; pwd; printf '10%%\\r20%%\\r\\n\\n  30%%'; echo oops >&2")
	tool.Stdin, tool.Dir, tool.Env = strings.NewReader("yes\nno\n"), "/", []string{"COLOUR=blue"}
	tool.Line = func(line string) { lines = append(lines, line) }
	out, err := h.Tool(t.Context(), tool)
	if err != nil || string(out) != "yes blue\n/\n10%\r20%\r\n\n  30%" {
		t.Errorf("Tool = %q, %v", out, err)
	}
	told := strings.Join(lines, "|")
	if got := strings.Replace("|"+told+"|", "|oops|", "|", 1); got != "|yes blue|/|10%|20%|30%|" || !strings.Contains(told, "oops") {
		t.Errorf("lines %q", lines)
	}
	if _, err := h.Tool(t.Context(), Tool{Name: "no-such-program-here", Stdin: strings.NewReader("")}); !NoProgram(err) {
		t.Errorf("a program that is not there: %v", err)
	}
	if _, err := h.Tool(t.Context(), shell("echo the controller is busy; exit 4")); err == nil || !strings.Contains(err.Error(), "exit status 4: the controller is busy") {
		t.Errorf("a failure on standard output: %v", err)
	}
}

func TestToolLimits(t *testing.T) {
	t.Parallel()
	h := host()
	h.Run = Exec{}
	pid := filepath.Join(t.TempDir(), "pid")
	child := "sleep 1000 & echo $! > " + pid + "; "
	for _, test := range []struct {
		name string
		tool Tool
		want string // in the error, "" for none
	}{
		{"hangs", Tool{Name: "sh", Args: []string{"-c", child + "wait"}, Limit: 300 * time.Millisecond}, "it ran for more than 300ms"},
		{"floods", Tool{Name: "sh", Args: []string{"-c", child + "yes"}, MaxOutput: 1 << 16}, "output is longer than 65536 bytes"},
		{"one endless line", Tool{Name: "sh", Args: []string{"-c", child + "tr '\\0' x < /dev/zero"}, MaxOutput: 1 << 20, Line: func(line string) {
			if len(line) > maxLine {
				t.Errorf("a line of %d bytes", len(line))
			}
		}}, "output is longer than"},
		{"leaves a child", Tool{Name: "sh", Args: []string{"-c", "sleep 1000 >/dev/null 2>&1 & echo $! > " + pid}}, ""},
		{"Line panics", Tool{Name: "sh", Args: []string{"-c", child + "echo a; wait"}, Line: func(string) { panic("not a number") }}, "panic: not a number"},
	} {
		started := time.Now()
		out, err := h.Tool(t.Context(), test.tool)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
		if most := test.tool.MaxOutput; most > 0 && len(out) > most {
			t.Errorf("%s: %d bytes of output", test.name, len(out))
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("%s: took %s", test.name, took)
		}
		text, err := os.ReadFile(pid)
		if err != nil {
			t.Fatal(err)
		}
		var number int
		if _, err := fmt.Sscan(string(text), &number); err != nil {
			t.Fatal(err)
		}
		gone := func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", number))
			return err != nil || strings.Contains(string(stat), ") Z ") || errors.Is(syscall.Kill(number, 0), syscall.ESRCH)
		}
		for deadline := time.Now().Add(5 * time.Second); !gone() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if !gone() {
			t.Errorf("%s: its child is still there", test.name)
			_ = syscall.Kill(number, syscall.SIGKILL)
		}
	}
}

// recorded is a runner with one answer.
type recorded struct{ answer string }

func (r recorded) Run(context.Context, string, ...string) ([]byte, error) {
	return []byte(r.answer), nil
}

// TestToolOnOtherRunners: a recorded answer, and programs of a made-up host.
func TestToolOnOtherRunners(t *testing.T) {
	h := host()
	h.Run = recorded{"10%\r20%\n"}
	var lines []string
	out, err := h.Tool(t.Context(), Tool{Name: "flash", Line: func(line string) { lines = append(lines, line) }})
	if diff := cmp.Diff([]string{"10%", "20%"}, lines); err != nil || string(out) != "10%\r20%\n" || diff != "" {
		t.Errorf("Tool = %q, %v, lines %s", out, err, diff)
	}
	if _, err := h.Tool(t.Context(), Tool{Name: "flash", Stdin: strings.NewReader("y")}); err == nil {
		t.Error("standard input was dropped in silence")
	}
	h.Programs = t.TempDir()
	if err := os.WriteFile(filepath.Join(h.Programs, "flash"), []byte("#!/bin/sh\nread word; echo made up $word\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"flash", "/opt/acme/flash"} {
		if out, err := h.Tool(t.Context(), Tool{Name: name, Stdin: strings.NewReader("y\n")}); err != nil || string(out) != "made up y\n" {
			t.Errorf("%s of the made-up host: %q, %v", name, out, err)
		}
	}
}

func TestPercent(t *testing.T) {
	var reports []ipa.Progress
	line := StepCall{Progress: func(p ipa.Progress) { reports = append(reports, p) }}.Percent("flashing")
	for _, text := range []string{"Flashing /c0 ...", "  7 %", "[##   ] 40.9%", "40%", "block 100% of 62%", "rate 1034%", "at 500%", "100%"} {
		line(text)
	}
	var got []int64
	for _, p := range reports {
		got = append(got, p.Done)
		if p.Phase != "flashing" || p.Total != 100 {
			t.Errorf("reported %+v", p)
		}
	}
	if diff := cmp.Diff([]int64{7, 40, 62, 100}, got); diff != "" {
		t.Errorf("percentages (-want +got):\n%s", diff)
	}
	StepCall{}.Percent("")("5%")
}
