package decompress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func pack(t testing.TB, command string) []byte {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return out
}

func unpack(name string, b []byte) ([]byte, error) {
	r, err := NewReader(name, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 64<<20))
}

const text = "yes ferric | head -c 3000000"

func TestXZContainers(t *testing.T) {
	want := pack(t, text)
	padding := make([]byte, 8)
	one := pack(t, text+" | xz -0")
	for name, c := range map[string]struct{ packed, want []byte }{
		"one stream":          {one, want},
		"two streams":         {append(bytes.Clone(one), one...), append(bytes.Clone(want), want...)},
		"padding between":     {append(append(bytes.Clone(one), padding...), one...), append(bytes.Clone(want), want...)},
		"many blocks":         {pack(t, text+" | xz -0 --block-size=100000 -C sha256"), want},
		"no check":            {pack(t, text+" | xz -0 -C none"), want},
		"crc32":               {pack(t, text+" | xz -0 -C crc32"), want},
		"sizes in the header": {pack(t, text+" | xz -0 -T2 --block-size=1000000"), want},
		"empty":               {pack(t, "xz -c </dev/null"), nil},
	} {
		got, err := unpack("xz", c.packed)
		if err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(c.want), err)
		}
	}
}

func TestRefused(t *testing.T) {
	one := pack(t, text+" | xz -0")
	flip := func(at int) []byte {
		b := bytes.Clone(one)
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		kind   string
		packed []byte
		is     error
		want   string
	}{
		"large dictionary":   {"xz", pack(t, text+" | xz -9"), ErrWindow, "declares 64 MiB, the bound is 32 MiB"},
		"BCJ filter":         {"xz", pack(t, text+" | xz --x86 --lzma2=preset=0"), ErrUnsupported, "filter"},
		"large zstd window":  {"zstd", pack(t, "head -c 80000000 /dev/zero | zstd --long=27"), ErrWindow, "32 MiB"},
		"stream header":      {"xz", flip(8), ErrCorrupt, "checksum of a stream header"},
		"block header":       {"xz", flip(13), ErrCorrupt, "checksum of a block header"},
		"block":              {"xz", flip(60), ErrCorrupt, "xz"},
		"check of the block": {"xz", flip(-12 - 12), ErrCorrupt, "xz"},
		"footer":             {"xz", flip(-10), ErrCorrupt, "footer"},
		"cut":                {"xz", one[:len(one)-3], io.ErrUnexpectedEOF, "ends early"},
		"cut in a block":     {"xz", one[:len(one)/2], io.ErrUnexpectedEOF, "ends early"},
		"garbage behind":     {"xz", append(bytes.Clone(one), "garbage garbage"...), ErrCorrupt, "stream header"},
		"gzip, cut":          {"gzip", pack(t, text+" | gzip | head -c 500"), io.ErrUnexpectedEOF, "ends early"},
		"zstd, cut":          {"zstd", pack(t, text+" | zstd | head -c 200"), io.ErrUnexpectedEOF, "ends early"},
	} {
		if _, err := unpack(c.kind, c.packed); !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v, want %v with %q", name, err, c.is, c.want)
		}
	}
}

func FuzzXZ(f *testing.F) {
	f.Add(pack(f, "echo ferric | xz -0"))
	f.Add(pack(f, "yes ferric | head -c 3000 | xz -0 --block-size=1000"))
	f.Add(pack(f, "head -c 300 /dev/urandom | xz -0 -C sha256"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := new(runtime.MemStats)
		runtime.ReadMemStats(before)
		_, _ = unpack("xz", b)
		after := new(runtime.MemStats)
		runtime.ReadMemStats(after)
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 4*MaxWindow {
			t.Fatalf("the heap grew by %d bytes", grown)
		}
	})
}
