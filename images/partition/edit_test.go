package partition_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

// TestEditTable adds partitions beside others and takes them away again; the
// others stay as they are, to sgdisk and sfdisk, too.
func TestEditTable(t *testing.T) {
	const mib, linuxRAID = int64(1) << 20, "A19D880F-05FC-4D3B-A006-743F0F84911E"
	for _, c := range []struct {
		label, old, added string
	}{
		{partition.GPT, linuxRAID, partition.TypeESP},
		{partition.MBR, "0xfd", partition.MBRESP},
	} {
		t.Run(c.label, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, 64*mib); err != nil {
				t.Fatal(err)
			}
			target := disktest.Target(t, path)
			d, err := target.Open()
			if err != nil {
				t.Fatal(err)
			}
			table, err := partition.Plan(d, c.label, []partition.Wanted{{Start: 9 * mib, Size: 7 * mib, Type: c.old, Name: "root"}, {Size: 16 * mib, Type: c.old, Name: "data"}}, nil)
			if err == nil {
				err = table.Commit(d)
			}
			if err := errors.Join(err, d.Close()); err != nil {
				t.Fatal(err)
			}
			has(t, path, "1 9+7", "2 16+16")
			before := list(t, path)
			p, err := partition.Add(target, partition.Wanted{Start: mib, Size: 8 * mib, Type: c.added, Name: "uefi-holder-0"})
			if err != nil || p.Number != 3 {
				t.Fatalf("added number %d, error %v", p.Number, err)
			}
			has(t, path, "1 9+7", "2 16+16", "3 1+8")
			if after := list(t, path); after[2].Type != c.added || c.label == partition.GPT && after[2].Name != "uefi-holder-0" {
				t.Errorf("added %+v", after[2])
			} else if diff := cmp.Diff(before, after[:2]); diff != "" {
				t.Errorf("the others (-before +after):\n%s", diff)
			}
			for _, wrong := range []partition.Wanted{
				{Start: 8 * mib, Size: 2 * mib}, {Start: 20 * mib, Size: mib}, {Start: 60 * mib, Size: 5 * mib}, {Start: 0, Size: mib}, {Start: 40*mib + 512, Size: mib}, {Start: 40 * mib},
			} {
				wrong.Type = c.added
				if _, err := partition.Add(target, wrong); !errors.Is(err, partition.ErrNoRoom) {
					t.Errorf("adding %d bytes at %d: %v; want no room", wrong.Size, wrong.Start, err)
				}
			}
			if err := partition.Remove(target, 1, 3, 4); err != nil {
				t.Fatal(err)
			}
			has(t, path, "2 16+16")
			if diff := cmp.Diff(before[1:], list(t, path)); diff != "" {
				t.Errorf("what is left (-before +after):\n%s", diff)
			}
			if again, err := partition.Add(target, partition.Wanted{Start: mib, Size: mib, Type: c.added}); err != nil || again.Number != 1 {
				t.Errorf("number %d, error %v; want the lowest free one", again.Number, err)
			}
		})
	}
}

// TestLogicalPartitionsStay: only primary partitions are taken off an MBR. It is as it
// was if one that is not to go is named.
func TestLogicalPartitionsStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 64<<20)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sfdisk", "-q", path)
	cmd.Stdin = strings.NewReader("1: start=2048, size=16384, type=fd\n4: start=20480, type=5\n5: start=22528, size=16384, type=fd\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := partition.Remove(disktest.Target(t, path), 1, 5); err == nil || !strings.Contains(err.Error(), "partition 5 is a logical one") {
		t.Errorf("error = %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the disk was changed, or %v", err)
	}
}

func list(t *testing.T, path string) []partition.Partition {
	t.Helper()
	table, err := partition.List(path)
	if err != nil {
		t.Fatal(err)
	}
	return table.Partitions
}

// has compares the table with what sfdisk finds: number, MiB where it begins and how
// many. A GPT has to pass sgdisk.
func has(t *testing.T, path string, want ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sfdisk", "--dump", path).Output()
	if err != nil {
		t.Fatalf("sfdisk: %v", err)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		node, rest, ok := strings.Cut(line, " : start=")
		if !ok {
			continue
		}
		var start, size int64
		if _, err := fmt.Sscanf(strings.ReplaceAll(rest, ",", " "), "%d size= %d", &start, &size); err != nil {
			t.Fatalf("sfdisk says %q: %v", line, err)
		}
		got = append(got, fmt.Sprintf("%s %d+%d", strings.TrimPrefix(node, path), start*512>>20, size*512>>20))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	if strings.Contains(string(out), "label: gpt") {
		if out, err := exec.CommandContext(t.Context(), "sgdisk", "--verify", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
			t.Errorf("sgdisk --verify: %v: %s", err, out)
		}
	}
}
