package generic

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/volume"
)

// seed is a file system for a partition: what is in it, as for debugfs's source
// directory, and how it is made.
type seed struct {
	mkfs  []string // without device; none leaves the partition as it is
	files map[string]string
	bytes map[int64]string // to write to the partition, by offset
}

// diskOf makes a loop device with a GPT of partitions of 300 MiB at most, which
// hold the seeds, and returns the machine whose root device it is.
func diskOf(t *testing.T, size int64, seeds ...seed) (*hwmanager.Host, ipa.BlockDevice) {
	t.Helper()
	h, device := loopMachine(t, int64(len(seeds))*size+4*mib)
	table := "label: gpt\n"
	for i := range seeds {
		table += fmt.Sprintf("size=%dMiB, name=part%d\n", size/mib, i+1)
	}
	// sgdisk would wait a second for the kernel.
	tool(t, "sh", "-c", `echo "$1" | sfdisk --quiet --no-reread --no-tell-kernel "$0"`, device.Name, table)
	tool(t, "partx", "-u", device.Name)
	for i, s := range seeds {
		node := disk.Node(device.Name, i+1)
		deadline := time.Now().Add(10 * time.Second)
		for _, err := os.Stat(node); err != nil && time.Now().Before(deadline); _, err = os.Stat(node) {
			time.Sleep(10 * time.Millisecond)
		}
		if len(s.mkfs) > 0 {
			tool(t, s.mkfs[0], append(s.mkfs[1:], node)...)
			if len(s.files) > 0 {
				withMounted(t, node, func(dir string) { plant(t, dir, s.files) })
			}
		}
		f, err := os.OpenFile(node, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for at, what := range s.bytes {
			if _, err := f.WriteAt([]byte(what), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return h, device
}

// withMounted calls use with the file system of a device.
func withMounted(t *testing.T, node string, use func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	tool(t, "mount", node, dir)
	defer tool(t, "umount", dir)
	use(dir)
}

// plant makes files: content, "-> target" for a link, "|" for a pipe, "/" for a
// directory.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = errors.Join(err, os.Symlink(target, at))
		} else if content == "|" {
			err = errors.Join(err, syscall.Mkfifo(at, 0o644))
		} else if content == "/" {
			err = errors.Join(err, os.MkdirAll(at, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(at, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inject runs the step on the device with the files.
func inject(t *testing.T, h *hwmanager.Host, device ipa.BlockDevice, files ...any) (string, error) {
	t.Helper()
	return injectAs(t, h, device, map[string]any{"files": files}, 0)
}

func injectAs(t *testing.T, h *hwmanager.Host, device ipa.BlockDevice, args map[string]any, most int64) (string, error) {
	t.Helper()
	call := hwmanager.StepCall{
		Node:  hwmanager.Node{"uuid": "1be26c0b", "properties": map[string]any{}},
		Ports: []map[string]any{{"address": "52:54:00:12:34:01"}},
		Args:  args,
	}
	list, verify, err := injections(call)
	if err != nil {
		t.Fatal(err)
	}
	in, err := New().newInjector(t.Context(), h, device, call.Node, verify)
	if err != nil {
		return "", err
	}
	if most > 0 {
		in.most = most
	}
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	before := mountsOf(t, device.Name)
	result, err := in.all(t.Context(), list)
	if after := mountsOf(t, device.Name); after != before {
		t.Errorf("still mounted: %s", after)
	}
	if leftover, rerr := os.ReadDir(scratch); rerr != nil || len(leftover) > 0 {
		t.Errorf("mount points are left: %v, %v", leftover, rerr)
	}
	text, _ := result.(map[string]string)
	return strings.ReplaceAll(text["result"], device.Name, "DISK"), err
}

func mountsOf(t *testing.T, device string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var of strings.Builder
	for line := range strings.Lines(string(mounts)) {
		if strings.HasPrefix(line, device+"p") {
			of.WriteString(line)
		}
	}
	return of.String()
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func file(path, content string, more ...any) map[string]any {
	f := map[string]any{"path": path, "content": b64(content)}
	for i := 0; i < len(more); i += 2 {
		f[more[i].(string)] = more[i+1]
	}
	return f
}

// holds checks files of a partition; "" is for one that must not be there.
func holds(t *testing.T, device ipa.BlockDevice, number int, files map[string]string) {
	t.Helper()
	withMounted(t, disk.Node(device.Name, number), func(dir string) {
		for name, want := range files {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if (err == nil) != (want != "") || string(got) != want {
				t.Errorf("partition %d: %s is %q, %v; want %q", number, name, got, err, want)
			}
		}
	})
}

var ext4 = []string{"mke2fs", "-q", "-F", "-t", "ext4"}

const bootUUID = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04"

// TestInjectFiles: a system of three partitions, its root on the third.
func TestInjectFiles(t *testing.T) {
	h, device := diskOf(t, 16*mib,
		seed{bytes: map[int64]string{512: "LABELONE" + strings.Repeat("\x00", 16) + "LVM2 001"}},
		seed{mkfs: append(ext4, "-U", bootUUID), files: map[string]string{"grub/grub.cfg": "menu", "boot": "-> ."}},
		seed{mkfs: ext4, files: map[string]string{
			"etc/fstab": "LABEL=root / ext4 defaults 0 1\nUUID=" + bootUUID + " /boot ext4 defaults 0 2\nPARTLABEL=part4 /var/lib\\040x auto\ntmpfs /tmp tmpfs defaults\n/dev/mapper/vg-home /home xfs\n/dev/sr0 /cdrom auto noauto\n",
			"etc/motd":  "old", "boot/": "/", "var/lib x/": "/", "var/lib x2/": "/", "tmp/": "/", "home/": "/", "cdrom/": "/", "link": "-> var/lib x",
			"etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf", "run/": "/", "etc/escape": "-> /../../../../etc", "etc/pipe": "|",
		}},
		seed{mkfs: ext4, files: map[string]string{"kept": "kept"}},
	)
	for _, c := range []struct {
		name   string
		file   map[string]any
		result string
		wrong  string
		on     int
		holds  map[string]string
	}{
		{"by the first name of the path", file("/etc/motd", "new"), "/etc/motd written to DISKp3", "", 3, map[string]string{"etc/motd": "new"}},
		{"by number", file("/grub/custom.cfg", "x", "partition", 2), "/grub/custom.cfg written to DISKp2", "", 2, map[string]string{"grub/custom.cfg": "x"}},
		{"by number as text, in the root directory", file("/x", "x", "partition", "2"), "/x written to DISKp2", "", 2, map[string]string{"x": "x"}},
		{"by device", file("/y", "y", "partition", disk.Node(device.Name, 2)), "/y written to DISKp2", "", 2, map[string]string{"y": "y"}},
		{"by UUID", file("/z", "z", "partition", "/dev/disk/by-uuid/"+bootUUID), "/z written to DISKp2", "", 2, map[string]string{"z": "z"}},
		{"by the name of the partition", file("/n", "n", "partition", "/dev/disk/by-partlabel/part4"), "/n written to DISKp4", "", 4, map[string]string{"n": "n"}},
		{"the first partition that has the directory", file("/boot/grub/first.cfg", "f"), "/boot/grub/first.cfg written to DISKp2", "", 2, map[string]string{"grub/first.cfg": "f"}},
		{"below what the system mounts", file("/var/lib x/sub/f", "v"), "/var/lib x/sub/f written to DISKp4", "", 4, map[string]string{"sub/f": "v", "kept": "kept"}},
		{"hidden is nothing", file("/var/lib x/sub/f", "v"), "/var/lib x/sub/f written to DISKp4", "", 3, map[string]string{"var/lib x/sub/f": ""}},
		{"beside it", file("/var/lib x2/f", "v"), "/var/lib x2/f written to DISKp3", "", 3, map[string]string{"var/lib x2/f": "v"}},
		{"through a link to what the system mounts", file("/link/g", "g"), "/link/g written to DISKp4", "", 4, map[string]string{"g": "g"}},
		{"not mounted by itself", file("/cdrom/x", "x"), "/cdrom/x written to DISKp3", "", 3, map[string]string{"cdrom/x": "x"}},
		{"memory", file("/tmp/x", "x"), "", `mounts "tmpfs" (tmpfs) at /tmp, which is no partition`, 3, map[string]string{"tmp/x": ""}},
		{"LVM, mounted", file("/home/x", "x"), "", `mounts "/dev/mapper/vg-home" (xfs) at /home`, 3, map[string]string{"home/x": ""}},
		{"LVM, by number", file("/x", "x", "partition", 1), "", "p1 is a part of LVM, which is not opened here", 0, nil},
		{"LVM, by device", file("/x", "x", "partition", "/dev/mapper/vg-root"), "", "LVM and encrypted volumes are not opened here", 0, nil},
		{"nowhere", file("/nowhere/x", "x"), "", "has the directory /nowhere; " + disk.Node(device.Name, 1) + " is a part of LVM", 0, nil},
		{"no such partition", file("/x", "x", "partition", 9), "", "has no partition 9, only 1, 2, 3, 4", 0, nil},
		{"no such device", file("/x", "x", "partition", "/dev/nvme7n7p7"), "", "there is no /dev/nvme7n7p7", 0, nil},
		{"no disk", file("/x", "x", "partition", "/dev/null"), "", "/dev/null is neither a disk nor a partition", 0, nil},
		{"link to what does not exist", file("/etc/resolv.conf", "x"), "", "/run/systemd does not exist", 3, map[string]string{"run/systemd/resolve/stub-resolv.conf": ""}},
		{"link out of the tree", file("/etc/escape/ferric-was-here", "x"), "/etc/escape/ferric-was-here written to DISKp3", "", 3, map[string]string{"etc/ferric-was-here": "x"}},
		{"pipe", file("/etc/pipe", "x"), "", "/etc/pipe is a pipe", 0, nil},
		{"deleted", map[string]any{"path": "/etc/motd", "deleted": true}, "/etc/motd deleted from DISKp3", "", 3, map[string]string{"etc/motd": ""}},
		{"deleted again", map[string]any{"path": "/etc/motd", "deleted": true}, "/etc/motd is not on DISKp3", "", 3, nil},
		{"deleted link", map[string]any{"path": "/etc/resolv.conf", "deleted": true}, "/etc/resolv.conf deleted from DISKp3", "", 3, nil},
		{"deleted, of a partition", map[string]any{"path": "/etc/apt", "partition": 3, "deleted": true}, "/etc/apt is not on DISKp3", "", 0, nil},
		{"deleted directory", map[string]any{"path": "/etc", "deleted": true, "partition": 3}, "", "/etc is a directory", 0, nil},
		{"deleted below what the system mounts", map[string]any{"path": "/var/lib x/g", "deleted": true}, "/var/lib x/g deleted from DISKp4", "", 4, map[string]string{"g": ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, err := inject(t, h, device, c.file)
			if result != c.result || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q, %v; want %q, %q", result, err, c.result, c.wrong)
			}
			if c.on > 0 {
				holds(t, device, c.on, c.holds)
			}
		})
	}
	if _, err := os.Lstat("/etc/ferric-was-here"); err == nil {
		t.Error("this machine's /etc has the file")
	}
	tool(t, "e2fsck", "-fn", disk.Node(device.Name, 3))
}

// TestInjectAttributes: what is made, and what its system sees of it.
func TestInjectAttributes(t *testing.T) {
	h, device := diskOf(t, 16*mib, seed{mkfs: ext4, files: map[string]string{"etc/": "/"}})
	result, err := inject(t, h, device,
		file("/etc/a/b/script", "#!/bin/sh\n", "mode", 0o755, "dirmode", 0o700, "owner", 1000, "group", 100),
		file("/etc/a/b/second", "", "dirmode", 0o711))
	if want := "/etc/a/b/script written to DISKp1; /etc/a/b/second written to DISKp1"; err != nil || result != want {
		t.Fatalf("%q, %v", result, err)
	}
	withMounted(t, disk.Node(device.Name, 1), func(dir string) {
		got := tool(t, "stat", "-c", "%a %u:%g %s", filepath.Join(dir, "etc/a"), filepath.Join(dir, "etc/a/b"), filepath.Join(dir, "etc/a/b/script"), filepath.Join(dir, "etc/a/b/second"))
		for i, want := range []string{"755 0:0 ", "700 0:0 ", "755 1000:100 10", "644 0:0 0"} {
			if line := strings.Split(got, "\n")[i]; !strings.HasPrefix(line, want) {
				t.Errorf("%d: %s; want %s", i, line, want)
			}
		}
	})
}

// TestInjectFileSystems: those that the kernel here can mount.
func TestInjectFileSystems(t *testing.T) {
	for _, c := range []struct {
		kind string
		size int64
		mkfs []string
	}{
		{"ext2", 8 * mib, []string{"mke2fs", "-q", "-F", "-t", "ext2"}},
		{"xfs", 320 * mib, []string{"mkfs.xfs", "-q", "-f"}},
		{"btrfs", 128 * mib, []string{"mkfs.btrfs", "-q", "-f"}},
		{"vfat", 16 * mib, []string{"mkfs.vfat"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			known, err := os.ReadFile("/proc/filesystems")
			if err != nil {
				t.Fatal(err)
			}
			mountable := strings.Contains(string(known), "\t"+c.kind+"\n")
			s := seed{mkfs: c.mkfs}
			if mountable {
				s.files = map[string]string{"etc/": "/"}
			}
			h, device := diskOf(t, c.size, s)
			_, err = inject(t, h, device, file("/etc/motd", "new", "partition", 1))
			if !mountable { // and then it says so
				if err == nil || !strings.Contains(err.Error(), "the kernel here knows no "+c.kind) {
					t.Errorf("error = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			holds(t, device, 1, map[string]string{"etc/motd": "new"})
		})
	}
}

// TestInjectSubvolume: the root file system of Fedora and Ubuntu on btrfs.
func TestInjectSubvolume(t *testing.T) {
	if known, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(known), "\tbtrfs\n") {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs btrfs in the kernel")
		}
		t.Skip("needs btrfs in the kernel")
	}
	const id = "0b7e5f1c-3c0d-4d0e-9b57-66e20a6b2f05"
	h, device := diskOf(t, 128*mib, seed{mkfs: []string{"mkfs.btrfs", "-q", "-f", "-U", id}})
	withMounted(t, disk.Node(device.Name, 1), func(dir string) {
		tool(t, "btrfs", "subvolume", "create", filepath.Join(dir, "root"))
		tool(t, "btrfs", "subvolume", "create", filepath.Join(dir, "home"))
		tool(t, "btrfs", "subvolume", "create", filepath.Join(dir, "old"))
		fstab := "UUID=" + id + " / btrfs subvol=root,compress=zstd:1 0 0\nUUID=" + id + " /home btrfs subvol=home 0 0\n"
		plant(t, dir, map[string]string{"root/etc/fstab": fstab, "root/home/": "/", "old/etc/fstab": fstab})
	})
	result, err := inject(t, h, device, file("/etc/motd", "new"), file("/home/me/x", "mine"))
	if err != nil || result != "/etc/motd written to DISKp1; /home/me/x written to DISKp1" {
		t.Fatalf("%q, %v", result, err)
	}
	holds(t, device, 1, map[string]string{"root/etc/motd": "new", "old/etc/motd": "", "etc/motd": "", "home/me/x": "mine", "root/home/me/x": ""})
}

// TestInjectBusy: what somebody else has mounted otherwise is left alone.
func TestInjectBusy(t *testing.T) {
	h, device := diskOf(t, 16*mib, seed{mkfs: ext4, files: map[string]string{"etc/motd": "old"}})
	withMounted(t, disk.Node(device.Name, 1), func(string) {
		for _, f := range []map[string]any{file("/etc/motd", "new"), file("/etc/motd", "new", "partition", 1)} {
			if _, err := inject(t, h, device, f); err == nil || !strings.Contains(err.Error(), "in use") {
				t.Errorf("error = %v", err)
			}
		}
	})
	h.Guard = hwmanager.DeviceGuard{}
	if _, err := inject(t, h, device, file("/etc/motd", "new")); !ipa.ProtectedDevice.Is(err) {
		t.Errorf("a disk that may not be written to: %v", err)
	}
	holds(t, device, 1, map[string]string{"etc/motd": "old"})
}

// TestInjectURL: content from servers.
func TestInjectURL(t *testing.T) {
	h, device := diskOf(t, 16*mib, seed{mkfs: ext4, files: map[string]string{"etc/motd": "old"}})
	h.Settings.ImageServer = hwmanager.ImageServer{AuthStrategy: "http_basic", User: "u", Password: "secret"}
	h.Settings.ConnectTimeout = time.Minute
	var asked, authorized string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, authorized = r.URL.String(), r.Header.Get("Authorization")
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(make([]byte, 2048))
		case "/endless":
			for range 1000 {
				_, _ = w.Write(make([]byte, 1024))
				w.(http.Flusher).Flush()
			}
		case "/redirect":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/truncated":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half"))
		case "/missing":
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte("content of " + r.URL.Path))
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, url string
		verify    any
		wrong     string
		content   string
	}{
		{"plain", plain.URL + "/f", nil, "", "content of /f"},
		{"with what the node is", plain.URL + "/{node[uuid]}/{ports[0][address]}/{{x}}", nil, "", "content of /1be26c0b/52:54:00:12:34:01/{x}"},
		{"TLS", secure.URL + "/f", nil, "certificate", "old"},
		{"TLS, verified", secure.URL + "/f", true, "certificate", "old"},
		{"TLS, not verified", secure.URL + "/f", false, "", "content of /f"},
		{"TLS, with its authority", secure.URL + "/ca", nil, "", "content of /ca"},
		{"missing", plain.URL + "/missing?token=secret", nil, "status 404", "old"},
		{"elsewhere", plain.URL + "/redirect", nil, "unsupported protocol scheme", "old"},
		{"large", plain.URL + "/large", nil, "has 2048 bytes, more than the 1024", "old"},
		{"large, without a length", plain.URL + "/endless", nil, "has more bytes than a file may have", "old"},
		{"cut off", plain.URL + "/truncated", nil, "truncated", "old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked, authorized = "", ""
			h.Settings.CAFile = ""
			if strings.HasSuffix(c.url, "/ca") {
				h.Settings.CAFile = authority
			}
			withMounted(t, disk.Node(device.Name, 1), func(dir string) { plant(t, dir, map[string]string{"etc/motd": "old"}) })
			_, err := injectAs(t, h, device, map[string]any{"files": []any{map[string]any{"path": "/etc/motd", "content": c.url}}, "verify_ca": c.verify}, 1024)
			if (err == nil) != (c.wrong == "") || err != nil && (!strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("error = %v; want %q", err, c.wrong)
			}
			if authorized != "" {
				t.Errorf("%s was told %s", asked, authorized)
			}
			holds(t, device, 1, map[string]string{"etc/motd": c.content})
		})
	}
}

// TestInjectAborted: an abort in the middle of a download leaves what was there,
// and nothing mounted.
func TestInjectAborted(t *testing.T) {
	h, device := diskOf(t, 16*mib, seed{mkfs: ext4, files: map[string]string{"etc/motd": "old"}})
	h.Settings.ConnectTimeout = time.Minute
	ctx, abort := context.WithCancelCause(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		abort(errors.New("aborted by the operator"))
		<-r.Context().Done()
	}))
	defer server.Close()
	in, err := New().newInjector(ctx, h, device, hwmanager.Node{}, true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.all(ctx, []injection{{path: "/etc/motd", url: server.URL + "/f"}})
	if err == nil || !strings.Contains(err.Error(), "aborted by the operator") {
		t.Errorf("error = %v", err)
	}
	if left := mountsOf(t, device.Name); left != "" {
		t.Errorf("still mounted: %s", left)
	}
	withMounted(t, disk.Node(device.Name, 1), func(dir string) {
		names, err := os.ReadDir(filepath.Join(dir, "etc"))
		if err != nil || len(names) != 1 {
			t.Errorf("%v, %v; want motd alone", names, err)
		}
	})
	holds(t, device, 1, map[string]string{"etc/motd": "old"})
}

// TestForeign: what only seems to be a file system, or is none.
func TestForeign(t *testing.T) {
	for _, c := range []struct {
		name, mark string
		at         int64
		want       string
	}{
		{"LVM", "LABELONE" + strings.Repeat("x", 16) + "LVM2 001", 512, "a part of LVM"},
		{"LVM, in the last sector for it", "LABELONE" + strings.Repeat("x", 16) + "LVM2 001", 3 * 512, "a part of LVM"},
		{"something else with its mark", "LABELONE" + strings.Repeat("x", 16) + "LVM9 001", 512, ""},
		{"LUKS", "LUKS\xba\xbe", 0, "encrypted (LUKS)"},
		{"array 0.90", "\xfc\x4e\x2b\xa9", 64*mib - 64<<10, "a part of a software RAID"},
		{"array 1.0", "\xfc\x4e\x2b\xa9", 64*mib - 8<<10, "a part of a software RAID"},
		{"array 1.1", "\xfc\x4e\x2b\xa9", 0, "a part of a software RAID"},
		{"array 1.2", "\xfc\x4e\x2b\xa9", 4096, "a part of a software RAID"},
		{"nothing", "", 0, ""},
	} {
		f, err := os.CreateTemp(t.TempDir(), "volume")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, err = f.WriteAt([]byte(c.mark), c.at)
		if err = errors.Join(err, f.Truncate(64*mib)); err != nil {
			t.Fatal(err)
		}
		if got := foreignTo(f, 64*mib); got != c.want {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
	if foreignTo(strings.NewReader(""), 0) != "" {
		t.Error("an empty device is part of something")
	}
}

// TestInjectWithoutFstab: where it is not known what the system mounts, a file
// might be hidden.
func TestInjectWithoutFstab(t *testing.T) {
	h, device := diskOf(t, 16*mib, seed{mkfs: ext4, files: map[string]string{"etc/fstab": strings.Repeat("#", maxFstab+1)}})
	if _, err := inject(t, h, device, file("/etc/motd", "new")); err == nil || !strings.Contains(err.Error(), "mounts: refused: /etc/fstab is no file of at most") {
		t.Errorf("error = %v", err)
	}
	holds(t, device, 1, map[string]string{"etc/motd": ""})
	if _, err := inject(t, h, device, file("/etc/motd", "new", "partition", 1)); err != nil {
		t.Error(err)
	}
}

// TestBySource: the ways in which a system and udev name a partition.
func TestBySource(t *testing.T) {
	in := &injector{places: []place{
		{name: "esp", info: volume.Info{UUID: "ABCD-1234"}, label: "UEFI", partUUID: "3A9C1E2D-0000-4000-8000-000000000001", partName: "EFI System Partition"},
		{name: "data", info: volume.Info{UUID: "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04"}, label: `a\x2`, partName: "ünï"},
	}}
	for source, want := range map[string]string{
		"UUID=abcd-1234": "esp", "LABEL=UEFI": "esp", `LABEL="UEFI"`: "esp", "PARTLABEL=EFI System Partition": "esp",
		"PARTUUID=3a9c1e2d-0000-4000-8000-000000000001":          "esp",
		"/dev/disk/by-uuid/ABCD-1234":                            "esp",
		`/dev/disk/by-partlabel/EFI\x20System\x20Partition`:      "esp",
		`/dev/disk/by-partlabel/ünï`:                             "data",
		`/dev/disk/by-label/a\x5cx2`:                             "data",
		`/dev/disk/by-label/a\x2`:                                "data",
		"/dev/disk/by-uuid/6F0F4C3C-4C0D-4D0E-9B57-66E20A6B2F04": "data",
		"LABEL=": "", "PARTUUID=": "", "LABEL=uefi": "", "ID=x": "", "/dev/disk/by-uuid/": "", "/dev/sda1": "", "/dev/mapper/by-uuid/ABCD-1234": "", "tmpfs": "", "": "",
	} {
		got := ""
		if p := in.bySource(source); p != nil {
			got = p.name
		}
		if got != want {
			t.Errorf("%s: %q; want %q", source, got, want)
		}
	}
}
