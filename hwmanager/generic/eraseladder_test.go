package generic

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/erasure"
	"ferric/images/disk"
)

// loops is a machine whose disks sda, sdb and so on are loop devices, on files
// of size bytes in dirs ("" is a directory of the test's).
func loops(t *testing.T, size int64, dirs ...string) *hwmanager.Host {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	h := &hwmanager.Host{
		Sys: filepath.Join(root, "sys"), Proc: filepath.Join(root, "proc"), Dev: filepath.Join(root, "dev"),
		Run: hwmanager.Exec{}, Log: logrus.NewEntry(log), Settings: hwmanager.Settings{GuardSpecialFilesystems: true},
	}
	put(t, filepath.Join(h.Proc, "self/mountinfo"), "1 1 0:2 / / rw - rootfs none rw\n")
	for _, dir := range []string{h.Dev, filepath.Join(h.Sys, "dev/block")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, dir := range dirs {
		if dir == "" {
			dir = root
		}
		name := "sd" + string(rune('a'+i))
		backing := filepath.Join(dir, name+".backing")
		put(t, backing, "")
		if err := os.Truncate(backing, size); err != nil {
			t.Fatal(err)
		}
		loop := tool(t, "losetup", "-f", "--show", backing)
		t.Cleanup(func() { tool(t, "losetup", "-d", loop) })
		var stat unix.Stat_t
		if err := unix.Stat(loop, &stat); err != nil {
			t.Fatal(err)
		}
		block := filepath.Join(h.Sys, "block", name)
		for file, content := range map[string]string{
			"size": fmt.Sprint(size / 512), "ro": "0", "serial": "SERIAL-" + name, "dev": fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)),
			"queue/logical_block_size": "512", "queue/rotational": "0",
		} {
			put(t, filepath.Join(block, file), content+"\n")
		}
		for from, to := range map[string]string{
			filepath.Join(h.Dev, name): loop,
			filepath.Join(h.Sys, "dev/block", fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))): block,
		} {
			if err := os.Symlink(to, from); err != nil {
				t.Fatal(err)
			}
		}
		h.Guard.Allowed = append(h.Guard.Allowed, loop)
		fillRandomly(t, loop, size)
	}
	return h
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fillRandomly gives a disk a former owner. One that is full already has one.
func fillRandomly(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, size); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	_ = f.Sync()
}

// wholly writes what next puts into a buffer to the whole device.
func wholly(device *disk.Device, next func([]byte)) error {
	buf := disk.Buffer(int(device.Size))
	next(buf)
	if _, err := device.WriteAt(buf, 0); err != nil {
		return err
	}
	return device.Sync()
}

// always is a rung that is worth asking on every disk.
func always(method string, erase func(ctx context.Context, device *disk.Device, progress func(float64)) (erasure.Method, error)) rung {
	return rung{
		method:  method,
		enabled: func(eraseOptions) bool { return true },
		applies: func(ipa.BlockDevice, *disk.Device) bool { return true },
		erase: func(ctx context.Context, device *disk.Device, _ eraseOptions, progress func(float64)) (erasure.Method, error) {
			return erase(ctx, device, progress)
		},
	}
}

func managerWith(rungs ...rung) *Manager { return &Manager{rungs: rungs} }

// outcomes is what became of each method on each device.
func outcomes(h *hwmanager.Host) map[string]string {
	report, _ := h.Erased.Last()
	all := map[string]string{}
	for _, d := range report.Devices {
		text := d.Outcome
		for _, a := range d.Attempts {
			text += ", " + a.Method + " " + a.Outcome
			if a.Verified != nil {
				text += fmt.Sprintf(" (%s)", a.Verified.Expected)
			}
		}
		all[d.Device] = text
	}
	return all
}

const fromNode = "agent_continue_if_secure_erase_failed"

// TestLadder holds which way is taken, by what the disk answers and by what the
// node allows. A disk that says that it has erased itself is not believed.
func TestLadder(t *testing.T) {
	honest := func(fill func([]byte), m erasure.Method) func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) {
		return func(_ context.Context, d *disk.Device, _ func(float64)) (erasure.Method, error) {
			return m, wholly(d, fill)
		}
	}
	liar := func(m erasure.Method) func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) {
		return func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) { return m, nil }
	}
	partly := func(_ context.Context, d *disk.Device, _ func(float64)) (erasure.Method, error) {
		part, err := d.Section(0, d.Size-4096)
		if err == nil {
			err = wholly(part, newNoise())
		}
		return erasure.Method{}, err
	}
	unsupported := func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) {
		return erasure.Method{}, fmt.Errorf("it has no such command: %w", erasure.ErrNotSupported)
	}
	broken := func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) {
		return erasure.Method{Name: "crypto"}, errors.New("aborted by the drive")
	}
	const overwritten = "overwrite erased (zeros)"
	tests := []struct {
		name    string
		rungs   []rung
		info    map[string]any
		want    string
		failure []string // in the error; nil if the step succeeds
	}{
		{"none", nil, nil, "erased, " + overwritten, nil},
		{"a new key", []rung{always("key", honest(newNoise(), erasure.Method{}))}, nil, "erased, key erased (" + ipa.ExpectGone + ")", nil},
		{"zeros", []rung{always("zero", honest(clearBytes, erasure.Method{Leaves: erasure.Zeros}))}, nil, "erased, zero erased (zeros)", nil},
		{"noise where zeros are promised", []rung{always("zero", honest(newNoise(), erasure.Method{Leaves: erasure.Zeros}))}, nil, "failed, zero failed (zeros)", []string{"/dev/sda: zero: ", "64 of 64 samples are not zeros"}},
		{"the second", []rung{always("a", unsupported), always("b", honest(newNoise(), erasure.Method{})), always("c", broken)}, nil,
			"erased, a not supported, b erased (" + ipa.ExpectGone + ")", nil},
		{"not supported at all", []rung{always("a", unsupported), always("b", unsupported)}, nil, "erased, a not supported, b not supported, " + overwritten, nil},
		{"fails", []rung{always("a", broken), always("b", honest(newNoise(), erasure.Method{}))}, nil, "failed, a failed", []string{"/dev/sda: a (crypto): aborted by the drive"}},
		{"fails and may", []rung{always("a", broken), always("b", broken)}, map[string]any{fromNode: true}, "erased, a failed, " + overwritten, nil},
		{"fails and may by the older name", []rung{always("a", broken)}, map[string]any{"agent_continue_if_ata_erase_failed": true}, "erased, a failed, " + overwritten, nil},
		{"the newer name counts", []rung{always("a", broken)}, map[string]any{fromNode: false, "agent_continue_if_ata_erase_failed": true}, "failed, a failed", []string{"aborted"}},
		{"a liar", []rung{always("a", liar(erasure.Method{Name: "crypto"}))}, nil, "failed, a failed (" + ipa.ExpectGone + ")",
			[]string{"/dev/sda: a (crypto): ", "64 of 64 samples", "the first one at 0"}},
		{"a liar about zeros", []rung{always("a", liar(erasure.Method{Leaves: erasure.Zeros}))}, nil, "failed, a failed (zeros)", []string{"64 of 64 samples are not zeros"}},
		{"a liar that may be made up for", []rung{always("a", liar(erasure.Method{}))}, map[string]any{fromNode: true}, "erased, a failed (" + ipa.ExpectGone + "), " + overwritten, nil},
		{"a liar about the last sectors", []rung{always("a", partly)}, nil, "failed, a failed (" + ipa.ExpectGone + ")", []string{"1 of 64 samples", fmt.Sprint("the first one at ", 3*mib-4096)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := loops(t, 3*mib, "")
			before, err := os.ReadFile(filepath.Join(h.Dev, "sda"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = managerWith(test.rungs...).eraseDevices(t.Context(), h, call(test.info))
			if (err == nil) != (test.failure == nil) || err != nil && !ipa.BlockDeviceErase.Is(err) {
				t.Fatalf("error %v; want %q", err, test.failure)
			}
			for _, part := range test.failure {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if got := outcomes(h)["/dev/sda"]; got != test.want {
				t.Errorf("report says %q; want %q", got, test.want)
			}
			after, readErr := os.ReadFile(filepath.Join(h.Dev, "sda"))
			if readErr != nil {
				t.Fatal(readErr)
			}
			if err == nil && commonSectors(before, after) > 0 {
				t.Errorf("%d sectors are what they were before", commonSectors(before, after))
			}
			report, _ := h.Erased.Last()
			if (report.Error != "") != (err != nil) || report.End.IsZero() || report.Devices[0].Serial != "SERIAL-sda" || report.Devices[0].End.Before(report.Devices[0].Start) {
				t.Errorf("report is %+v", report)
			}
		})
	}
}

func commonSectors(a, b []byte) int {
	n := 0
	for off := 0; off+512 <= len(a); off += 512 {
		if bytes.Equal(a[off:off+512], b[off:off+512]) {
			n++
		}
	}
	return n
}

// TestSecondOfThreeDisksFails: its writes fail beyond 3 MiB, for the file system
// below is full. The others are erased, and the error says all there is to say.
func TestSecondOfThreeDisksFails(t *testing.T) {
	for _, concurrency := range []float64{1, 3} {
		t.Run(fmt.Sprintf("concurrency %v", concurrency), func(t *testing.T) {
			small := t.TempDir()
			tool(t, "mount", "-t", "tmpfs", "-o", "size=3m", "none", small)
			t.Cleanup(func() { tool(t, "umount", small) }) // after the loop device is gone
			h := loops(t, 8*mib, "", small, "")
			_, err := managerWith().eraseDevices(t.Context(), h, call(map[string]any{"disk_erasure_concurrency": concurrency}))
			if !ipa.BlockDeviceErase.Is(err) {
				t.Fatalf("error = %v; want BlockDeviceEraseError", err)
			}
			for _, part := range []string{"/dev/sdb: overwrite: random pass 1 of 1: ", "at 3145728"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			want := map[string]string{"/dev/sda": "erased, overwrite erased (zeros)", "/dev/sdb": "failed, overwrite failed", "/dev/sdc": "erased, overwrite erased (zeros)"}
			if diff := cmp.Diff(want, outcomes(h)); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
			for _, name := range []string{"sda", "sdc"} {
				if !isZero(t, filepath.Join(h.Dev, name)) {
					t.Errorf("%s is not erased", name)
				}
			}
		})
	}
}

// TestSamplesThatCannotBeWritten: a locked disk takes writes only once it has
// erased itself. Nothing tells then that it has, so it is overwritten as well.
func TestSamplesThatCannotBeWritten(t *testing.T) {
	h := loops(t, 3*mib, "")
	locked := func(on string) { tool(t, "blockdev", on, filepath.Join(h.Dev, "sda")) }
	m := managerWith(always("unlock", func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) {
		locked("--setrw")
		return erasure.Method{}, nil
	}))
	target, err := h.Fence(ipa.BlockDevice{Name: "/dev/sda"})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := target.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	t.Cleanup(func() { locked("--setrw") }) // a loop stays as it was for who gets it next
	locked("--setro")
	c := &climb{device: opened, options: eraseOptions{iterations: 1, zeroize: true}, samples: newSamples(opened), report: func(hwmanager.EraseProgress) {}}
	erased, err := c.secure(t.Context(), m.rungs, ipa.BlockDevice{Name: "/dev/sda"})
	if erased || err != nil || c.done.Attempts[0].Outcome != ipa.EraseUnverified || !strings.Contains(c.done.Attempts[0].Detail, "samples could not be written") {
		t.Fatalf("erased %v, %v, attempt %+v", erased, err, c.done.Attempts)
	}
	if err := c.overwrite(t.Context(), false); err != nil || !isZero(t, filepath.Join(h.Dev, "sda")) {
		t.Errorf("not overwritten: %v", err)
	}
}

// TestEraseConcurrency: as many disks at once as the node wants.
func TestEraseConcurrency(t *testing.T) {
	for _, want := range []int32{1, 2, 4} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			h := loops(t, mib, "", "", "", "")
			var now, most atomic.Int32
			full := make(chan struct{}, 4)
			m := managerWith(always("wait", func(ctx context.Context, d *disk.Device, _ func(float64)) (erasure.Method, error) {
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				full <- struct{}{}
				if want > 1 { // until the others are here, too
					for len(full) < int(want) {
						if ctx.Err() != nil {
							return erasure.Method{}, ctx.Err()
						}
						unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
					}
				}
				return erasure.Method{}, wholly(d, newNoise())
			}))
			if _, err := m.eraseDevices(t.Context(), h, call(map[string]any{"disk_erasure_concurrency": float64(want)})); err != nil {
				t.Fatal(err)
			}
			if most.Load() != want {
				t.Errorf("%d disks were erased at once; want %d", most.Load(), want)
			}
		})
	}
}

// TestEraseIsCancelled in the middle: nothing goes on, and what was not reached
// is named.
func TestEraseIsCancelled(t *testing.T) {
	h := loops(t, 8*mib, "", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	m := managerWith(always("endless", func(ctx context.Context, _ *disk.Device, _ func(float64)) (erasure.Method, error) {
		cancel(errors.New("cancelled by request"))
		<-ctx.Done()
		return erasure.Method{}, context.Cause(ctx)
	}))
	_, err := m.eraseDevices(ctx, h, call(map[string]any{fromNode: true}))
	if err == nil || strings.Count(err.Error(), "cancelled by request") != 2 {
		t.Fatalf("error = %v; want both disks cancelled", err)
	}
	want := map[string]string{"/dev/sda": "failed, endless failed", "/dev/sdb": "failed"}
	if diff := cmp.Diff(want, outcomes(h)); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
	t.Run("while it overwrites", func(t *testing.T) {
		h := loops(t, 8*mib, "")
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := managerWith().EraseBlockDevice(ctx, h, call(nil).Node, ipa.BlockDevice{Name: "/dev/sda", Size: 8 * mib}, func(p hwmanager.EraseProgress) {
			if p.Fraction >= 0.25 {
				cancel(errors.New("cancelled by request"))
			}
		})
		if err == nil || !strings.Contains(err.Error(), "overwrite: random pass 1 of 1: cancelled by request") {
			t.Errorf("error = %v", err)
		}
	})
}

// TestUnreadableIsWritten: a disk whose sectors may be unreadable after the erase
// can be read where the next one, and the kernel, look for tables.
func TestUnreadableIsWritten(t *testing.T) {
	for _, unreadable := range []bool{true, false} {
		h := loops(t, 3*mib, "")
		m := managerWith(always("key", func(_ context.Context, d *disk.Device, _ func(float64)) (erasure.Method, error) {
			return erasure.Method{Unreadable: unreadable}, wholly(d, newNoise())
		}))
		_, err := m.eraseDevices(t.Context(), h, call(nil))
		must(t, err)
		for at, zero := range map[int64]bool{0: unreadable, mib: false, 2 * mib: unreadable} {
			got := read(t, filepath.Join(h.Dev, "sda"), at, mib)
			if is := len(bytes.Trim(got, "\x00")) == 0; is != zero {
				t.Errorf("unreadable %v: zeros from %d: %v", unreadable, at, is)
			}
		}
	}
}

// TestEraseExpress: NVMe disks erase themselves where they can and may, all
// others lose their metadata.
func TestEraseExpress(t *testing.T) {
	secure := always(ipa.MethodNVMe, func(_ context.Context, d *disk.Device, _ func(float64)) (erasure.Method, error) {
		return erasure.Method{}, wholly(d, newNoise())
	})
	failing := always(ipa.MethodNVMe, func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) {
		return erasure.Method{}, errors.New("internal error")
	})
	secure.enabled, failing.enabled = func(o eraseOptions) bool { return o.nvme }, func(o eraseOptions) bool { return o.nvme }
	tests := []struct {
		name string
		rung rung
		info map[string]any
		want string // of the NVMe disk
	}{
		{"it can", secure, nil, "erased, NVMe secure erase erased (" + ipa.ExpectGone + ")"},
		{"it must not", secure, map[string]any{"agent_enable_nvme_secure_erase": false}, "erased, NVMe secure erase disabled, metadata erased"},
		{"it fails", failing, nil, "erased, NVMe secure erase failed, metadata erased"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := lab(t)
			shrink(t, h, 16*mib, "vda", "sda", "sdb", "nvme0n1")
			for _, name := range []string{"vda", "nvme0n1"} {
				write(t, filepath.Join(h.Dev, name), 0, []byte("head"))
				write(t, filepath.Join(h.Dev, name), 12*mib, []byte("middle"))
			}
			if _, err := managerWith(test.rung).eraseExpress(t.Context(), h, call(test.info)); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"/dev/nvme0n1": test.want}
			for _, name := range []string{"vda", "sda", "sdb"} {
				want["/dev/"+name] = "erased, metadata erased"
			}
			if diff := cmp.Diff(want, outcomes(h)); diff != "" {
				t.Errorf("reports (-want +got):\n%s", diff)
			}
			if got := read(t, filepath.Join(h.Dev, "vda"), 0, 4); string(got) == "head" {
				t.Error("the metadata of a disk that is no NVMe disk is still there")
			}
		})
	}
	t.Run("both fail", func(t *testing.T) {
		h := lab(t)
		shrink(t, h, 16*mib, "vda", "sda", "sdb", "nvme0n1")
		m := managerWith(always(ipa.MethodNVMe, func(context.Context, *disk.Device, func(float64)) (erasure.Method, error) {
			return erasure.Method{}, errors.Join(errors.New("internal error"), os.Remove(filepath.Join(h.Dev, "nvme0n1")))
		}))
		_, err := m.eraseExpress(t.Context(), h, call(nil))
		if !ipa.BlockDeviceErase.Is(err) || !strings.Contains(err.Error(), "/dev/nvme0n1: metadata: ") || !strings.Contains(err.Error(), "before that, NVMe secure erase: internal error") {
			t.Errorf("error = %v; want both failures", err)
		}
	})
}

// TestMetadataOfPartitions: they lose theirs before their disk does, also on a
// disk with large sectors, and the kernel forgets them.
func TestMetadataOfPartitions(t *testing.T) {
	if _, err := exec.LookPath("partx"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("partx is missing")
	}
	for _, sector := range []string{"512", "1024", "4096"} {
		t.Run(sector, func(t *testing.T) {
			h, device := loopMachine(t, 64*mib)
			tool(t, "losetup", "--sector-size", sector, device.Name, "--direct-io=off")
			tool(t, "sh", "-c", "printf 'label: gpt\\n,20M\\n,20M\\n' | sfdisk --no-reread --no-tell-kernel "+device.Name)
			_ = exec.Command("partx", "-a", device.Name).Run()
			parts := partitionsOf(filepath.Join(h.Sys, "block", filepath.Base(device.Name)), device)
			if len(parts) != 2 {
				t.Fatalf("the kernel knows %d partitions; want 2", len(parts))
			}
			for _, p := range parts {
				tool(t, "mke2fs", "-q", "-F", p.Name)
			}
			h.Guard.Allowed = []string{device.Name + "*"}
			target := eraseTarget{device: device, partitions: parts}
			for _, p := range []ipa.BlockDevice{parts[1], parts[0], device} {
				if err := wipeMetadata(t.Context(), h, target, p); err != nil {
					t.Fatal(err)
				}
			}
			if left := partitionsOf(filepath.Join(h.Sys, "block", filepath.Base(device.Name)), device); len(left) > 0 {
				t.Errorf("the kernel still knows %d partitions", len(left))
			}
			if out, err := exec.Command("blkid", "-p", "-u", "filesystem,raid,other", device.Name).CombinedOutput(); err == nil {
				t.Errorf("blkid still finds %s", out)
			}
		})
	}
}
