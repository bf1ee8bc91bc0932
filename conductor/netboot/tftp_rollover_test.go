package netboot

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Files of more blocks than there are numbers, with independent clients: they all
// go on with number 0.
func TestTFTPRollover(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 34<<20) // 69 632 blocks of 512 bytes
	rand.NewChaCha8([32]byte{2}).Read(data)
	for name, size := range map[string]int{"large": len(data), "small": 8*65535 + 3, "even": 8 * 65536} {
		if err := os.WriteFile(filepath.Join(dir, name), data[:size], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	port := strconv.Itoa(startTFTP(t, dir))
	for _, tc := range []struct {
		name, file string
		args       func(to string) []string
	}{
		{"tftp-hpa", "large", func(to string) []string {
			return []string{"tftp", "-m", "binary", "127.0.0.1", port, "-c", "get", "large", to}
		}},
		{"atftp", "small", func(to string) []string {
			return []string{"atftp", "--option", "blksize 8", "--option", "windowsize 32", "-g", "-r", "small", "-l", to, "127.0.0.1", port}
		}},
		{"curl", "even", func(to string) []string {
			return []string{"curl", "-sS", "--max-time", "60", "--tftp-blksize", "8", "-o", to, "tftp://127.0.0.1:" + port + "/even"}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			to := filepath.Join(t.TempDir(), "got")
			args := tc.args(to)
			if _, err := exec.LookPath(args[0]); err != nil {
				missing(t, "program "+args[0])
			}
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			got, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(dir, tc.file))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %d other bytes; want %d", len(got), len(want))
			}
		})
	}
}

// A client may ask for the other way, in which number 0 is left out.
func TestTFTPRolloverToOne(t *testing.T) {
	req, err := parseTFTP([]byte("\x00\x01f\x00octet\x00rollover\x001\x00blksize\x008\x00"))
	if err != nil || string(req.accepted(9)) != "\x00\x06rollover\x001\x00blksize\x008\x00" {
		t.Fatalf("%+v, %v, acknowledged by %q", req, err, req.accepted(9))
	}
	usual := tftpRequest{}
	for _, tc := range []struct {
		block      int64
		zero, want uint16
	}{{0, 0, 0}, {1, 1, 1}, {65535, 65535, 65535}, {65536, 0, 1}, {65537, 1, 2}, {2 * 65535, 65534, 65535}, {2*65535 + 1, 65535, 1}} {
		if got := req.number(tc.block); got != tc.want {
			t.Errorf("block %d has number %d with rollover 1; want %d", tc.block, got, tc.want)
		}
		if got := usual.number(tc.block); got != tc.zero {
			t.Errorf("block %d has number %d; want %d", tc.block, got, tc.zero)
		}
	}
	if bad, _ := parseTFTP([]byte("\x00\x01f\x00octet\x00rollover\x002\x00")); bad.accepted(1) != nil {
		t.Error("rollover 2 was accepted")
	}
}
