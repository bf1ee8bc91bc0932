package configdrive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/iso9660"
)

// drive is a config drive made by genisoimage.
func drive(t *testing.T, files map[string]string, args ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("genisoimage")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "iso")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := exec.Command(program, append(args, "-quiet", "-V", Label, "-o", out, dir)...).CombinedOutput(); err != nil {
		t.Fatalf("genisoimage: %v: %s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sample() map[string]string {
	return map[string]string{
		"openstack/latest/meta_data.json":    `{"hostname": "n1"}`,
		"openstack/latest/vendor_data2.json": strings.Repeat("v", 5000),
		"openstack/content/0000":             "a file that user data asks for",
		"ec2/2009-04-04/meta-data.json":      "{}",
		"openstack/latest/user_data":         "",
	}
}

// TestISOFiles: the names are those that Linux would show, of which Rock Ridge's
// come first. OpenStack makes its drives with -J and -R.
func TestISOFiles(t *testing.T) {
	for _, args := range [][]string{{"-R"}, {"-r", "-J"}, {"-J", "-joliet-long"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			files, err := isoFiles(drive(t, sample(), args...))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for name, content := range files {
				got[name] = string(content)
			}
			if diff := cmp.Diff(sample(), got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
	deep := strings.Repeat("d/", maxDepth-1) + "dir/file"
	if _, err := isoFiles(drive(t, map[string]string{deep: "x"}, "-J", "-D")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("deep directories: %v; want them refused, not left out", err)
	}
}

// TestHostileISO: a volume that names gigabytes takes no memory for them.
func TestHostileISO(t *testing.T) {
	le := binary.LittleEndian
	good := drive(t, map[string]string{strings.Repeat("n", 240): "x", "a": "y"}, "-R")
	rootAt := int(le.Uint32(good[32768+158:])) * 2048
	tests := []struct {
		name  string
		patch func(b []byte)
		is    error
	}{
		{"continuation of 4 GiB", func(b []byte) {
			for at := rootAt; ; at++ { // the first continuation, of any record
				if string(b[at:at+4]) == "CE\x1c\x01" {
					le.PutUint32(b[at+20:], 0xffffffff)
					return
				}
			}
		}, iso9660.ErrCorrupt},
		{"root directory of 4 GiB", func(b []byte) { le.PutUint32(b[32768+166:], 0xffffffff) }, iso9660.ErrTooLarge},
		{"file of 4 GiB", func(b []byte) {
			at := rootAt
			for b[at+32] == 1 && b[at+33] < 2 { // itself and its parent
				at += int(b[at])
			}
			le.PutUint32(b[at+10:], 0xffffffff)
		}, iso9660.ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			volume := bytes.Clone(good)
			test.patch(volume)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := isoFiles(volume)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrInvalid) || !errors.Is(err, test.is) {
				t.Errorf("%v; want %v", err, test.is)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Errorf("it took %d bytes of memory", used)
			}
		})
	}
}
