package sparse

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"ferric/images/disk/disktest"
)

// TestEndsComeLast: until Commit there is nothing at either end of the disk,
// for images of all sizes and written in any order.
func TestEndsComeLast(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ disk, image int64 }{
		{8 * mib, 8 * mib}, {8*mib + 512, 8*mib + 512}, {8 * mib, 8*mib - 700}, {8 * mib, 7*mib + 1}, {8 * mib, 7 * mib},
		{8 * mib, 512}, {2 * mib, 2 * mib}, {mib + 512, mib + 512}, {mib / 2, mib / 2},
	} {
		t.Run(fmt.Sprintf("%d of %d", c.image, c.disk), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, make([]byte, c.disk), 0o600); err != nil {
				t.Fatal(err)
			}
			dev, err := disktest.Target(t, path).Open()
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			w := NewWriter(context.Background(), dev)
			defer w.Close()
			want := make([]byte, c.disk)
			const piece = 300_000
			pieces := rand.New(rand.NewPCG(1, 1)).Perm(int((c.image + piece - 1) / piece))
			for _, i := range pieces {
				off := int64(i) * piece
				b := bytes.Repeat([]byte{byte(i + 1)}, int(min(piece, c.image-off)))
				if i%5 == 3 {
					err = w.Zero(off, int64(len(b)))
				} else {
					copy(want[off:], b)
					_, err = w.WriteAt(b, off)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got := read(t, path)
			end := min(mib, c.disk)
			if zero := make([]byte, end); !bytes.Equal(got[:end], zero) || !bytes.Equal(got[c.disk-end:], zero) {
				t.Error("an end of the disk was written before Commit")
			}
			if c.disk > 2*mib && !bytes.Equal(got[mib:c.disk-mib], want[mib:c.disk-mib]) {
				t.Error("the middle is wrong")
			}
			if err := w.Commit(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, path), want) {
				t.Error("the content is wrong")
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
