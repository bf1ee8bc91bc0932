package images_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"

	"ferric/images"
	"ferric/images/configdrive"
	"ferric/images/disk"
	"ferric/images/disk/disktest"
	"ferric/images/fat"
	"ferric/images/partition"
)

// loopDevice makes a block device of a file; it needs root.
func loopDevice(t testing.TB, size int64, sector int) string {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	backing := filepath.Join(t.TempDir(), "backing")
	if err := os.WriteFile(backing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(backing, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-f", "--show", "-b", fmt.Sprint(sector), backing).Output()
	if err != nil {
		t.Fatalf("losetup: %v", err)
	}
	node := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		_ = exec.Command("partx", "-d", node).Run()
		if err := exec.Command("losetup", "-d", node).Run(); err != nil {
			t.Errorf("losetup -d %s: %v", node, err)
		}
	})
	return node
}

// targets are the kinds of disks that everything is tried on.
func targets(t *testing.T, size int64, run func(t *testing.T, device string, sector int)) {
	t.Run("file", func(t *testing.T) { run(t, makeDisk(t, size), 512) })
	for _, sector := range []int{512, 4096} {
		t.Run(fmt.Sprintf("loop %d", sector), func(t *testing.T) { run(t, loopDevice(t, size, sector), sector) })
	}
}

// makeImage makes an image of 24 MiB with a partition table of the given kind.
func makeImage(t *testing.T, label string, sector int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.raw")
	tool(t, "truncate", "-s", "24M", path)
	script := "start=2MiB, size=4MiB\nstart=6MiB, size=8MiB\n"
	if label == partition.GPT {
		script = "label: gpt\n" + script
	} else {
		script = "label: dos\nlabel-id: 0x9d3b4c1a\n" + script
	}
	where := path
	if sector != 512 { // sfdisk asks the device for its sectors
		where = loopDevice(t, 24*mib, sector)
	}
	cmd := exec.Command("sfdisk", "--no-reread", "--no-tell-kernel", where)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	if where != path {
		if err := os.WriteFile(path, readNode(t, where, 24*mib), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte("root"), mib), 6*mib); err != nil {
		t.Fatal(err)
	}
	return path
}

const metadata = `{"uuid": "0f6a1cb2", "hostname": "n1"}`

// makeISO makes a config drive as the conductor makes one.
func makeISO(t *testing.T) []byte {
	t.Helper()
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Cleanup()
	for name, content := range map[string]string{
		"openstack/latest/meta_data.json":    metadata,
		"openstack/latest/user_data":         "#cloud-config\n",
		"openstack/latest/network_data.json": "{}",
	} {
		if err := w.AddFile(strings.NewReader(content), name); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := w.WriteTo(&b, "config-2"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encode(t *testing.T, volume []byte) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(volume)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func serve(t *testing.T, path string) string {
	t.Helper()
	srv := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(path))))
	t.Cleanup(srv.Close)
	return srv.URL + "/" + filepath.Base(path)
}

func TestDeploy(t *testing.T) {
	for _, label := range []string{partition.GPT, partition.MBR} {
		t.Run(label, func(t *testing.T) {
			targets(t, 160*mib, func(t *testing.T, device string, sector int) {
				image, iso := makeImage(t, label, sector), makeISO(t)
				req := request(serve(t, image), "raw", sha256File(t, image))
				d, err := images.Deploy(context.Background(), disktest.Target(t, device), req, encode(t, iso), nil)
				if err != nil {
					t.Fatal(err)
				}
				want := "0x00000000"
				if label == partition.MBR {
					want = "0x9d3b4c1a"
				}
				if d.RootUUID != want || d.ConfigDrive != disk.Node(device, 3) {
					t.Errorf("root uuid %s, config drive %s", d.RootUUID, d.ConfigDrive)
				}
				if label == partition.GPT && sector == 512 || label == partition.GPT && strings.HasPrefix(device, "/dev/") {
					if out := tool(t, "sgdisk", "-v", device); !strings.Contains(out, "No problems found") {
						t.Errorf("sgdisk -v: %s", out)
					}
				}
				table, err := partition.List(device)
				if err != nil {
					t.Fatal(err)
				}
				if err := table.Validate(); err != nil || len(table.Partitions) != 3 {
					t.Fatalf("%v, %+v", err, table.Partitions)
				}
				p := table.Partitions[2]
				if p.Size != 64*mib || p.Start+p.Size < 159*mib || p.Start%mib != 0 {
					t.Errorf("config drive from %d, %d bytes", p.Start, p.Size)
				}
				checkConfigDrive(t, device, p, iso, sector)
				if strings.HasPrefix(device, "/dev/") {
					// The kernel sees it where the table has it.
					if got := readNode(t, disk.Node(device, 3), int(p.Size)); !bytes.Equal(got, readPart(t, device, p)) {
						t.Error("the partition's device shows another content")
					}
					if got := readNode(t, disk.Node(device, 2), 8); string(got) != "rootroot" {
						t.Errorf("partition 2 begins with %q", got)
					}
				}
				// A second config drive goes to the same partition.
				again, err := configdrive.Write(context.Background(), disktest.Target(t, device), encode(t, iso), configdrive.Options{})
				if err != nil || again.Number != 3 {
					t.Errorf("second config drive: partition %d, %v", again.Number, err)
				}
			})
		})
	}
}

func readNode(t *testing.T, path string, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := io.ReadFull(f, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func readPart(t *testing.T, device string, p partition.Partition) []byte {
	t.Helper()
	d, err := disk.OpenReadOnly(device)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, p.Size)
	if _, err := d.ReadAt(b, p.Start); err != nil {
		t.Fatal(err)
	}
	return b
}

func checkConfigDrive(t *testing.T, device string, p partition.Partition, iso []byte, sector int) {
	t.Helper()
	got := readPart(t, device, p)
	volume := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(volume, got, 0o600); err != nil {
		t.Fatal(err)
	}
	if label := strings.TrimSpace(tool(t, "blkid", "-p", "-o", "value", "-s", "LABEL", volume)); !strings.EqualFold(label, "config-2") {
		t.Errorf("blkid: label %q", label)
	}
	if sector == 512 {
		if !bytes.Equal(got[:len(iso)], iso) {
			t.Error("the volume is not the one given")
		}
		return
	}
	fs, err := fat.Open(bytes.NewReader(got), p.Size)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile("openstack/latest/meta_data.json", 1<<20); err != nil || string(b) != metadata {
		t.Errorf("meta_data.json: %q, %v", b, err)
	}
}

func TestDeployRefusesTables(t *testing.T) {
	none := makeRaw(t, t.TempDir(), 4*mib)
	overlapping := makeImage(t, partition.MBR, 512)
	f, err := os.OpenFile(overlapping, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint32(nil, 5000), 446+8); err != nil {
		t.Fatal(err)
	}
	f.Close()
	empty := filepath.Join(t.TempDir(), "empty.raw")
	tool(t, "truncate", "-s", "8M", empty)
	tool(t, "sgdisk", "-o", empty)
	for _, c := range []struct {
		name, image, want string
		is                error
	}{
		{"no table", none, "no readable partition table", partition.ErrNoTable},
		{"overlap", overlapping, "partitions 1 and 2 overlap", partition.ErrBadTable},
		{"no partition", empty, "it has no partition", partition.ErrBadTable},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := makeDisk(t, 32*mib)
			_, err := images.Deploy(context.Background(), disktest.Target(t, disk), request(serve(t, c.image), "raw", sha256File(t, c.image)), "", nil)
			if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("got %v", err)
			}
			if hasTable(t, disk) {
				t.Error("the ends of the disk were not wiped")
			}
		})
	}
}

func TestConfigDriveRefused(t *testing.T) {
	device := makeDisk(t, 160*mib)
	image := makeImage(t, partition.GPT, 512)
	if err := os.WriteFile(device, readFile(t, image), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(device, 160*mib); err != nil {
		t.Fatal(err)
	}
	before := sha256File(t, device)
	for name, c := range map[string]struct{ value, want string }{
		"not base64":     {"{}", "not base64"},
		"not gzip":       {"aGVsbG8=", "not gzip"},
		"too large":      {encode(t, make([]byte, 64*mib+1)), "larger than 64 MiB"},
		"empty":          {encode(t, nil), "empty"},
		"not to be read": {serve(t, image) + ".absent", "status 404"},
	} {
		if _, err := configdrive.Write(context.Background(), disktest.Target(t, device), c.value, configdrive.Options{}); !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sha256File(t, device) != before {
		t.Error("the disk was changed")
	}
}

func TestWipeRemovesSignatures(t *testing.T) {
	targets(t, 96*mib, func(t *testing.T, device string, sector int) {
		put := func(off int64, b string) {
			f, err := os.OpenFile(device, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte(b), off); err != nil {
				t.Fatal(err)
			}
		}
		const size, md = 96 * mib, "\xfc\x4e\x2b\xa9"
		where := map[string]struct {
			off  int64
			mark string
		}{
			"MBR":            {510, "\x55\xaa"},
			"GPT":            {int64(sector), "EFI PART"},
			"GPT backup":     {size - int64(sector), "EFI PART"},
			"md 1.1":         {0, md},
			"md 1.2":         {4096, md},
			"md 1.0":         {size - 8192, md},
			"md 0.90":        {size - 65536, md},
			"IMSM":           {size - 1024, "Intel Raid ISM Cfg Sig. "},
			"DDF":            {size - 512, "\xde\x11\xde\x11"},
			"LVM":            {512, "LABELONE"},
			"ext4":           {1024 + 56, "\x53\xef"},
			"xfs":            {0, "XFSB"},
			"btrfs":          {64<<10 + 64, "_BHRfS_M"},
			"btrfs, copy":    {64<<20 + 64, "_BHRfS_M"},
			"LUKS2, second":  {4 << 20, "SKUL\xba\xbe"},
			"zfs, last":      {size - 256<<10 + 128<<10, "\x0c\xb1\xba\x00"},
			"swap":           {4096 - 10, "SWAPSPACE2"},
			"iso9660":        {32769, "CD001"},
			"something kept": {32 << 20, "content in the middle"},
		}
		for _, w := range where {
			put(w.off, w.mark)
		}
		if err := disktest.Target(t, device).Wipe(context.Background()); err != nil {
			t.Fatal(err)
		}
		b := readNode(t, device, size)
		for name, w := range where {
			left := string(b[w.off:w.off+int64(len(w.mark))]) == w.mark
			if kept := name == "something kept"; left != kept {
				t.Errorf("%s: still there %v", name, left)
			}
		}
		if out, err := exec.Command("wipefs", "-n", device).Output(); err != nil || len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("wipefs still finds: %s %v", out, err)
		}
	})
}

// TestDiskInUse: a disk that stays in use is refused, one that is given back
// meanwhile is written.
func TestDiskInUse(t *testing.T) {
	device := loopDevice(t, 32*mib, 512)
	holder, err := disktest.Target(t, device).Open()
	if err != nil {
		t.Fatal(err)
	}
	raw := makeRaw(t, t.TempDir(), 4*mib)
	write := func(ctx context.Context) error {
		_, err := images.Write(ctx, disktest.Target(t, device), request(serve(t, raw), "raw", sha256File(t, raw)), nil)
		return err
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := write(short); !errors.Is(err, disk.ErrBusy) {
		t.Errorf("got %v", err)
	}
	time.AfterFunc(600*time.Millisecond, func() { holder.Close() })
	if err := write(t.Context()); err != nil {
		t.Error(err)
	}
}
