package partition_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

func plan(t *testing.T, path, label string, old *partition.Table, wanted ...partition.Wanted) (*partition.Table, error) {
	t.Helper()
	d, err := disktest.Target(t, path).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table, err := partition.Plan(d, label, wanted, old)
	if err != nil {
		return nil, err
	}
	return table, table.Commit(d)
}

const mib = 1 << 20

func TestPlan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	run(t, "truncate", "-s", "64M", path)
	wanted := []partition.Wanted{
		{Size: 8 * mib, Type: partition.TypeESP, Name: "efi system partition"},
		{Size: 1 * mib, Type: partition.TypeBIOSBoot, Name: "BIOS"},
		{Size: 4 * mib, Type: partition.TypeSwap, Name: "swap"},
		{Size: 49 * mib, Type: partition.TypeLinux, Name: "root"},
	}
	table, err := plan(t, path, partition.GPT, nil, wanted...)
	if err != nil {
		t.Fatal(err)
	}
	if out := run(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	out := run(t, "sfdisk", "-d", path)
	for _, p := range table.Partitions {
		want := fmt.Sprintf("start=%12d, size=%12d, type=%s, uuid=%s, name=%q", p.Start/512, p.Size/512, p.Type, strings.ToUpper(p.UUID), p.Name)
		if !strings.Contains(out, want) {
			t.Errorf("sfdisk has no %q:\n%s", want, out)
		}
	}
	read, err := partition.List(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table.Partitions, read.Partitions); diff != "" {
		t.Error(diff)
	}

	// Once more with another root: what stays where it was stays the same.
	wanted[3].Size = 40 * mib
	again, err := plan(t, path, partition.GPT, read, wanted...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table.Partitions[:3], again.Partitions[:3]); diff != "" {
		t.Error(diff)
	}
	if again.Partitions[3].UUID == table.Partitions[3].UUID {
		t.Error("another partition has the same identity")
	}
}

func TestPlanMBR(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	code := strings.Repeat("c", 440)
	if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "truncate", "-s", "32M", path)
	table, err := plan(t, path, partition.MBR, nil,
		partition.Wanted{Size: 4 * mib, Type: partition.MBRSwap}, partition.Wanted{Size: 27 * mib, Type: partition.MBRLinux, Boot: true})
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, "sfdisk", "-d", path)
	for _, want := range []string{
		fmt.Sprintf("label-id: 0x%08x", table.Signature),
		"start=        2048, size=        8192, type=82\n", "start=       10240, size=       55296, type=83, bootable\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("sfdisk has no %q:\n%s", want, out)
		}
	}
	read, err := partition.List(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(table.Partitions, read.Partitions); diff != "" {
		t.Error(diff)
	}
	if b, err := os.ReadFile(path); err != nil || string(b[:440]) != code {
		t.Errorf("boot code is gone (%v)", err)
	}
}

func TestPlanRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	run(t, "truncate", "-s", "16M", path)
	one := partition.Wanted{Size: mib, Type: partition.MBRLinux}
	for name, c := range map[string]struct {
		label  string
		wanted []partition.Wanted
	}{
		"five on an MBR":         {partition.MBR, []partition.Wanted{one, one, one, one, one}},
		"no room for the backup": {partition.GPT, []partition.Wanted{{Size: 15 * mib, Type: partition.TypeLinux}}},
		"empty":                  {partition.GPT, []partition.Wanted{{Type: partition.TypeLinux}}},
		"sum overflows":          {partition.GPT, []partition.Wanted{{Size: 4 * mib}, {Size: 1<<63 - 1}}},
	} {
		if _, err := plan(t, path, c.label, nil, c.wanted...); !errors.Is(err, partition.ErrNoRoom) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
