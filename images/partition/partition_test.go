package partition_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// makeGPT makes a file of size MiB with a GPT.
// makeGPT takes a second, for which sgdisk sleeps after a change.
func makeGPT(t testing.TB, size int, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	run(t, "truncate", "-s", fmt.Sprintf("%dM", size), path)
	run(t, "sgdisk", append(args, path)...)
	return path
}

var twoPartitions = []string{"-n", "1:2048:+4M", "-t", "1:ef00", "-c", "1:Ünïcode", "-n", "5:20480:+8M", "-A", "5:set:2"}

func TestFixBackup(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(path string)
	}{
		{"grown disk", func(path string) { run(t, "truncate", "-s", "100M", path) }},
		{"grown over 2 TiB", func(path string) { run(t, "truncate", "-s", "3T", path) }},
		{"lost backup", func(path string) {
			run(t, "dd", "if=/dev/zero", "of="+path, "bs=512", "seek="+fmt.Sprint(32*2048-33), "count=33", "conv=notrunc")
		}},
		{"lost primary", func(path string) {
			run(t, "dd", "if=/dev/zero", "of="+path, "bs=512", "seek=1", "count=1", "conv=notrunc")
		}},
		{"nothing to do", func(string) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := makeGPT(t, 32, twoPartitions...)
			before, err := partition.List(path)
			if err != nil {
				t.Fatal(err)
			}
			c.change(path)
			if err := partition.FixBackup(disktest.Target(t, path)); err != nil {
				t.Fatal(err)
			}
			if out := run(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v: %s", out)
			}
			after, err := partition.List(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before.Partitions, after.Partitions); diff != "" {
				t.Error(diff)
			}
			if after.Partitions[0].Name != "Ünïcode" || !after.Partitions[0].IsESP() {
				t.Errorf("%+v", after.Partitions[0])
			}
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	full := makeGPT(t, 100, "-n", "1:2048:0")
	if _, err := partition.Append(disktest.Target(t, full), 64<<20, "x"); !errors.Is(err, partition.ErrNoRoom) {
		t.Errorf("full disk: %v", err)
	}
	four := filepath.Join(t.TempDir(), "disk")
	run(t, "truncate", "-s", "200M", four)
	cmd := exec.Command("sfdisk", four)
	cmd.Stdin = strings.NewReader("label: dos\nsize=1M\nsize=1M\nsize=1M\nsize=1M\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := partition.Append(disktest.Target(t, four), 64<<20, "x"); !errors.Is(err, partition.ErrNoRoom) {
		t.Errorf("four primary partitions: %v", err)
	}
}

func TestAppendToLargeMBR(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	run(t, "truncate", "-s", "4M", path)
	cmd := exec.Command("sfdisk", path)
	cmd.Stdin = strings.NewReader("label: dos\nlabel-id: 0x9d3b4c1a\nsize=1M\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run(t, "truncate", "-s", "3T", path)
	p, err := partition.Append(disktest.Target(t, path), 64<<20, "x")
	if err != nil {
		t.Fatal(err)
	}
	if end := p.Start + p.Size; p.Number != 2 || end > 2<<40 || end < 2<<40-2<<20 {
		t.Errorf("%+v", p)
	}
	if sig, err := partition.Signature(path); err != nil || sig != "0x9d3b4c1a" {
		t.Errorf("signature %s, %v", sig, err)
	}
	if out := run(t, "sfdisk", "-d", path); !strings.Contains(out, fmt.Sprintf("start=  %d, size=      131072, type=83", p.Start/512)) {
		t.Errorf("sfdisk: %s", out)
	}
}
