package generic

import (
	crand "crypto/rand"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// newNoise fills buffers from a cipher stream with a fresh random key.
func newNoise() func([]byte) {
	var key [32]byte
	// Read of crypto/rand never fails (it ends the program instead).
	_, _ = crand.Read(key[:])
	stream := rand.NewChaCha8(key)
	return func(p []byte) { _, _ = stream.Read(p) }
}

// dropPages makes the next reads of f come from the medium. It is a request:
// where the kernel ignores it the check is weaker, not wrong.
func dropPages(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
