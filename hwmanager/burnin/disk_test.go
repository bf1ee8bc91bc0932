package burnin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferric/images/disk"
	"ferric/images/disk/disktest"
)

const mib = 1 << 20

// loop makes a loop device on a file of so many bytes, with sectors of the given size.
func loop(t *testing.T, size int64, sector int) (device, backing string) {
	t.Helper()
	backing = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(backing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(backing, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", fmt.Sprint(sector), backing).CombinedOutput()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("losetup: %v: %s", err, out)
		}
		t.Skipf("needs loop devices: %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", device, err, out)
		}
	})
	return device, backing
}

func targets(t *testing.T, paths ...string) (list []DiskTarget) {
	for _, path := range paths {
		list = append(list, DiskTarget{Name: path, Target: disktest.Target(t, path)})
	}
	return list
}

func TestDiskLoad(t *testing.T) {
	first, backing := loop(t, 24*mib+3*512, 512) // the last block is a short one
	second, _ := loop(t, 9*mib, 4096)
	report, err := Disks(t.Context(), machine(), DiskOptions{Loops: 2}, targets(t, first, second), ignore)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int64{24*mib + 3*512, 9 * mib} {
		d := report.Disks[i]
		t.Logf("%+v", d)
		if d.Size != size || d.Loops != 2 || d.Written != 2*size || d.Verified != 2*size || d.WriteRate <= 0 || d.ReadRate <= 0 {
			t.Errorf("%+v; want 2 loops over %d bytes", d, size)
		}
	}
	// What is on the disk is what was to be written, of the second loop, to its end.
	data, err := os.ReadFile(backing)
	if err != nil {
		t.Fatal(err)
	}
	run := uint64(0)
	for i := range 8 {
		run |= uint64(data[8+i]) << (8 * i)
	}
	for off := 0; off < len(data); off += diskBlock {
		if wrong := (block{run, int64(off), 2}).check(data[off:min(off+diskBlock, len(data))]); wrong != nil {
			t.Fatalf("at %d: %+v", off, wrong)
		}
	}
}

// hooked is a medium that does something else than it should. What it does has
// the inner medium for a disk that is sound.
type hooked struct {
	medium
	read  func(m medium, p []byte, off int64) (int, error)
	write func(m medium, p []byte, off int64) (int, error)
	sync  func(m medium) error
}

func (h *hooked) ReadAt(p []byte, off int64) (int, error) {
	if h.read != nil {
		return h.read(h.medium, p, off)
	}
	return h.medium.ReadAt(p, off)
}

func (h *hooked) WriteAt(p []byte, off int64) (int, error) {
	if h.write != nil {
		return h.write(h.medium, p, off)
	}
	return h.medium.WriteAt(p, off)
}

func (h *hooked) Sync() error {
	if h.sync != nil {
		if err := h.sync(h.medium); err != nil {
			return err
		}
	}
	return h.medium.Sync()
}

func TestDiskFaults(t *testing.T) {
	const at = 5*mib + 7*diskBlock
	inside := func(p []byte, off, want int64) bool { return off <= want && want < off+int64(len(p)) }
	tests := []struct {
		name string
		hook func(backing string, written *atomic.Int64) hooked
		want string
	}{
		{"corrupted on the medium", func(backing string, _ *atomic.Int64) hooked {
			return hooked{sync: func(m medium) error {
				f, err := os.OpenFile(backing, os.O_RDWR, 0)
				if err != nil {
					return err
				}
				defer f.Close()
				if err := m.Sync(); err != nil {
					return err
				}
				var b [1]byte
				if _, err := f.ReadAt(b[:], at+100); err != nil {
					return err
				}
				_, err = f.WriteAt([]byte{b[0] ^ 0x81}, at+100)
				return err
			}}
		}, `loop 1: corrupt block at offset 5271552: 2 of 32768 bits are wrong, the first in byte 100$`},
		{"writes are lost", func(string, *atomic.Int64) hooked {
			return hooked{write: func(m medium, p []byte, off int64) (int, error) {
				if inside(p, off, at) {
					return len(p), nil
				}
				return m.WriteAt(p, off)
			}}
		}, `loop 1: never written block at offset 5242880: it is all zeros$`},
		{"writes of the second loop are lost", func(_ string, written *atomic.Int64) hooked {
			return hooked{write: func(m medium, p []byte, off int64) (int, error) {
				if inside(p, off, at) && written.Add(1) > 1 {
					return len(p), nil
				}
				return m.WriteAt(p, off)
			}}
		}, `loop 2: stale block at offset 5242880: generation 1 stands here, not 2$`},
		{"misdirected", func(string, *atomic.Int64) hooked {
			return hooked{read: func(m medium, p []byte, off int64) (int, error) {
				if off == 6*mib {
					off = 2 * mib
				}
				return m.ReadAt(p, off)
			}}
		}, `loop 1: misdirected block at offset 6291456: the block of offset 2097152, generation 1, stands here$`},
		{"smaller than it says", func(string, *atomic.Int64) hooked {
			wrap := func(off int64) int64 { return off % (4 * mib) } // as drives of forged capacity do
			return hooked{
				read:  func(m medium, p []byte, off int64) (int, error) { return m.ReadAt(p, wrap(off)) },
				write: func(m medium, p []byte, off int64) (int, error) { return m.WriteAt(p, wrap(off)) },
			}
		}, `loop 1: misdirected block at offset \d+: the block of offset \d+, generation 1, stands here$`},
		{"read error", func(string, *atomic.Int64) hooked {
			return hooked{read: func(m medium, p []byte, off int64) (int, error) {
				if inside(p, off, at) {
					return 0, errors.New("input/output error")
				}
				return m.ReadAt(p, off)
			}}
		}, `loop 1: read error at offset 5271552: input/output error$`},
		{"write error", func(string, *atomic.Int64) hooked {
			return hooked{write: func(m medium, p []byte, off int64) (int, error) { return 0, errors.New("input/output error") }}
		}, `loop 1: write error at offset \d+: input/output error$`},
		{"flush fails", func(string, *atomic.Int64) hooked {
			return hooked{sync: func(medium) error { return errors.New("input/output error") }}
		}, `loop 1: input/output error$`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			device, backing := loop(t, 8*mib, 512)
			var written atomic.Int64
			open := func(target DiskTarget) (medium, int64, error) {
				m, size, err := openMedium(target)
				if err != nil {
					return nil, 0, err
				}
				h := test.hook(backing, &written)
				h.medium = m
				return &h, size, nil
			}
			report, err := loadDisks(t.Context(), machine(), DiskOptions{Loops: 3}, targets(t, device), open, ignore)
			if err == nil || !strings.HasPrefix(err.Error(), device+": ") || !regexp.MustCompile(test.want).MatchString(err.Error()) {
				t.Errorf("error = %v; want %s", err, test.want)
			}
			if report.Error == "" || report.Disks[0].Error == "" {
				t.Errorf("report %+v; want the error in it", report)
			}
		})
	}
}

// TestDiskOfAnother has two disks that are one: one at least finds what was written
// to the other. Neither reads before both have written.
func TestDiskOfAnother(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, 4*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	list := targets(t, file, file)
	list[0].Name, list[1].Name = "/dev/sda", "/dev/sdb"
	var writing sync.WaitGroup
	writing.Add(len(list))
	open := func(target DiskTarget) (medium, int64, error) {
		m, size, err := openMedium(target)
		return &hooked{medium: m, sync: func(medium) error {
			writing.Done()
			writing.Wait()
			return nil
		}}, size, err
	}
	_, err := loadDisks(t.Context(), machine(), DiskOptions{Loops: 1}, list, open, ignore)
	if err == nil || !regexp.MustCompile(`^/dev/sd[ab]: loop 1: (foreign block at offset \d+: .* of run 0x[0-9a-f]+ stands here, which is that of /dev/sd[ab]|corrupt block)`).MatchString(err.Error()) {
		t.Errorf("error = %v", err)
	}
}

// TestDiskClaims: nothing is written to any disk while one is in use.
func TestDiskClaims(t *testing.T) {
	device, _ := loop(t, 2*mib, 512)
	holder, err := disktest.Target(t, device).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Disks(t.Context(), machine(), DiskOptions{Loops: 1}, targets(t, file, device), ignore)
	if !errors.Is(err, disk.ErrBusy) || !strings.Contains(err.Error(), device+": nothing was written to any disk") {
		t.Errorf("error = %v", err)
	}
	if data, _ := os.ReadFile(file); !bytes.Equal(data, make([]byte, mib)) {
		t.Error("the other disk was written to")
	}
	if _, err := Disks(t.Context(), machine(), DiskOptions{Loops: 1}, []DiskTarget{{Name: "/dev/sda"}}, ignore); err == nil {
		t.Error("a disk that was not fenced is opened")
	}
	if _, err := Disks(t.Context(), machine(), DiskOptions{Loops: 1}, nil, ignore); err == nil {
		t.Error("a burn-in of no disk is a success")
	}
}

// slowDisk is a medium of 20 MiB a second, the four requests in flight together.
type slowDisk struct{ content []byte }

func (d *slowDisk) wait(p []byte) { time.Sleep(time.Duration(len(p)) * time.Second / (5 * mib)) }

func (d *slowDisk) ReadAt(p []byte, off int64) (int, error) {
	d.wait(p)
	return copy(p, d.content[off:]), nil
}

func (d *slowDisk) WriteAt(p []byte, off int64) (int, error) {
	d.wait(p)
	return copy(d.content[off:], p), nil
}

func (*slowDisk) Sync() error  { return nil }
func (*slowDisk) Close() error { return nil }

// TestDiskTime: of a time that does not suffice, half is for writing.
func TestDiskTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := func(DiskTarget) (medium, int64, error) { return &slowDisk{make([]byte, 64*mib)}, 64 * mib, nil }
		report, err := loadDisks(t.Context(), machine(), DiskOptions{Loops: 4, Time: 2 * time.Second}, make([]DiskTarget, 1), open, ignore)
		if err != nil {
			t.Fatal(err)
		}
		d := report.Disks[0]
		if report.Seconds != 2 || d.Loops != 0 || d.Written != 20*mib || d.Verified != d.Written {
			t.Errorf("%.2f s: %+v; want 20 MiB written and verified in 2 s", report.Seconds, d)
		}
	})
}

func TestDiskAbort(t *testing.T) {
	device, _ := loop(t, 64*mib, 512)
	aborted := errors.New("aborted by the operator")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(aborted) })
	began := time.Now()
	_, err := Disks(ctx, machine(), DiskOptions{Loops: mostLoops}, targets(t, device), ignore)
	if !errors.Is(err, aborted) || time.Since(began) > promptly {
		t.Errorf("error = %v after %s; want the cause at once", err, time.Since(began))
	}
}

func TestBlocks(t *testing.T) {
	for _, size := range []int{blockLeast, 512, 517, diskBlock} {
		b := block{run: 1 << 63, offset: 7 << 40, generation: 3}
		p := make([]byte, size)
		b.stamp(p)
		if wrong := b.check(p); wrong != nil {
			t.Fatalf("%d bytes: %+v", size, wrong)
		}
		for i := range p {
			p[i] ^= 0x10
			wrong := b.check(p)
			if wrong == nil || wrong.kind != kindCorrupt || wrong.text != fmt.Sprintf("1 of %d bits are wrong, the first in byte %d", 8*size, i) {
				t.Errorf("%d bytes, byte %d changed: %+v", size, i, wrong)
			}
			p[i] ^= 0x10
		}
	}
}

func FuzzBlock(f *testing.F) {
	p := make([]byte, 64)
	block{1, 2, 3}.stamp(p)
	f.Add(p)
	f.Add(make([]byte, blockLeast))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < blockLeast {
			return
		}
		b := block{1, 2, 3}
		want := make([]byte, len(p))
		b.stamp(want)
		if wrong := b.check(p); (wrong == nil) != bytes.Equal(p, want) {
			t.Errorf("%x: %+v", p, wrong)
		}
	})
}
