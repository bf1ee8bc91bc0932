package hwmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
)

// hostDir writes files for a host; those in bin are programs.
func hostDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFakePrograms(t *testing.T) {
	fake := New(t, hostDir(t, map[string]string{
		"bin/acmectl":  "#!/bin/sh\nwc -c\necho \"$# $2\"\necho state >> \"$FAKE_HOST/dev/kept\"\n",
		"commands.txt": "# comment\n\nacmectl /c0 show 'J' -> a\nacmectl /c0 show 'J' -> exit 3 b\nstorcli64 /c? set * -> exit 1\nstorcli64 -> a\n",
		"a":            "first\n",
		"b":            "second\n",
	}))
	run := func(name string, args ...string) string {
		out, err := fake.Run.Run(t.Context(), name, args...)
		if err != nil {
			return string(out) + "! " + err.Error()
		}
		return string(out)
	}
	for _, test := range []struct {
		got, want string
	}{
		{run("acmectl", "/c0", "show", "'J'"), "first\n"},
		{run("/opt/acme/acmectl", "/c0", "show", "'J'"), "second\n! "},
		{run("acmectl", "/c0", "show", "'J'"), "second\n! "},
		{run("acmectl", "one", "two words"), "0\n2 two words\n"},
		{run("storcli64", "/c1", "set", "x", "y"), "! "},
		{run("storcli64"), "first\n"},
		{run("storcli64", "/c10", "set", "x"), "! "},
		{run("sh", "-c", "true"), "! run sh: exec: \"sh\": executable file not found in $PATH"},
	} {
		want, fails := strings.CutSuffix(test.want, "! ")
		if fails && !strings.HasPrefix(test.got, want+"! ") || !fails && test.got != want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	if _, err := fake.Run.Run(t.Context(), "sh"); !hwmanager.NoProgram(err) {
		t.Errorf("unknown program: %v; want NoProgram", err)
	}
	if got := run("storcli64", "/c10", "set", "x"); !strings.Contains(got, "the fake host has no answer to: storcli64 /c10 set x") {
		t.Errorf("a command line without answer says %q", got)
	}
	var lines []string
	for _, r := range fake.Runs() {
		lines = append(lines, r.String())
	}
	want := []string{
		"acmectl /c0 show 'J'", "acmectl /c0 show 'J'", "acmectl /c0 show 'J'", "acmectl one two words",
		"storcli64 /c1 set x y", "storcli64", "storcli64 /c10 set x", "storcli64 /c10 set x",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"one", "two words"}, fake.Runs()[3].Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

// TestFakeForExecutables: what a script runs is written down, too; what it was
// given itself stays its own, what it pipes is kept; this computer's programs that
// change it are not run.
func TestFakeForExecutables(t *testing.T) {
	fake := New(t, hostDir(t, map[string]string{"bin/acmectl": "#!/bin/sh\ncat\n"}))
	script := "acmectl a; echo piped | acmectl b; mount x y; echo \"status $?\"; cat"
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	spare := t.TempDir()
	if err := withhold(spare); err != nil {
		t.Fatal(err)
	}
	cmd.Env = []string{"PATH=" + fake.Programs + ":" + spare + ":/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader("request\n")
	out, err := cmd.Output()
	// acmectl a reads what its caller has, as it would without a record of it.
	if err != nil || string(out) != "request\npiped\nstatus 127\n" {
		t.Errorf("script: %q, %v", out, err)
	}
	runs := fake.Runs()
	if len(runs) != 2 || runs[0].Stdin != nil || string(runs[1].Stdin) != "piped\n" {
		t.Errorf("runs %v", runs)
	}
}

func TestFakeHostIsACopy(t *testing.T) {
	dir := hostDir(t, map[string]string{
		"sys/devices/x/vendor": "0x1000\n",
		"host.machine":         "dev/sda : 1099511627776\nproc/cmdline = quiet\\n\n",
	})
	if err := os.Symlink("../devices/x", filepath.Join(dir, "sys", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dev/nvme0n1"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "dev/nvme0n1"), 1<<40); err != nil {
		t.Fatal(err)
	}
	fake := New(t, dir)
	for _, disk := range []string{"sda", "nvme0n1"} {
		if info, err := os.Stat(filepath.Join(fake.Dev, disk)); err != nil || info.Size() != 1<<40 {
			t.Errorf("%s: %v, %v", disk, info, err)
		}
		if err := fake.Guard.Check(fake.DevicePath("/dev/" + disk)); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(fake.Sys, "devices/x/vendor"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "sys/devices/x/vendor")); err != nil || string(got) != "0x1000\n" {
		t.Errorf("the original is %q, %v", got, err)
	}
	host, done, err := Host(dir)
	if err != nil || host.Proc == fake.Proc {
		t.Fatalf("Host = %v, %v", host, err)
	}
	done()
	if _, err := os.Stat(host.Proc); err == nil {
		t.Error("the host is there after its end")
	}
}

func TestFakeHostFaults(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		says  string
	}{
		"notation":   {map[string]string{"host.machine": "\nsys/x ? y"}, `host.machine:2: line "sys/x ? y" is not understood`},
		"leaves":     {map[string]string{"host.machine": "../x = y"}, `leaves the tree`},
		"answer":     {map[string]string{"commands.txt": "acmectl show"}, `commands.txt:1: "acmectl show" is not of the form`},
		"no file":    {map[string]string{"commands.txt": "acmectl show -> nowhere"}, `answer to "acmectl show"`},
		"escapes":    {map[string]string{"commands.txt": "acmectl -> ../../etc/shadow"}, `is not in the host's directory`},
		"status":     {map[string]string{"commands.txt": "acmectl -> exit 999"}, `"999" is no exit status`},
		"empty":      {map[string]string{"commands.txt": "acmectl ->"}, `names no answer`},
		"a path":     {map[string]string{"commands.txt": "/bin/sh -> exit 1"}, `is not the name of a program`},
		"more files": {map[string]string{"commands.txt": "acmectl -> a b"}, `more than one file`},
	} {
		t.Run(name, func(t *testing.T) {
			fake, err := Open(hostDir(t, test.files))
			if err == nil {
				t.Fatal("accepted", fake.Close())
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v; want %q", err, test.says)
			}
		})
	}
	dir := hostDir(t, map[string]string{"bin/acmectl": ""})
	if err := os.Chmod(filepath.Join(dir, "bin/acmectl"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "chmod +x") {
		t.Errorf("a program that is not executable: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a directory that is not there is accepted")
	}
}

func TestWriteHost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if err := WriteHost(dir); err != nil {
		t.Fatal(err)
	}
	mine, builtIn := New(t, dir), New(t, "")
	for _, path := range []string{"sys/class/dmi/id/sys_vendor", "sys/block/sda/size", "sys/bus/pci/devices/0000:5e:00.0/vendor", "proc/self/mountinfo"} {
		want := text(builtIn.root, path)
		if got := text(mine.root, path); want == "" || got != want {
			t.Errorf("%s is %q, built in %q", path, got, want)
		}
	}
	if err := WriteHost(dir); err == nil {
		t.Error("a directory with files is overwritten")
	}
}
