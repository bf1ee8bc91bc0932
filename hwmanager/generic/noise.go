package generic

import (
	crand "crypto/rand"
	"math/rand/v2"
)

// newNoise fills buffers from a cipher stream with a fresh random key.
func newNoise() func([]byte) {
	var key [32]byte
	// Read of crypto/rand never fails (it ends the program instead).
	_, _ = crand.Read(key[:])
	stream := rand.NewChaCha8(key)
	return func(p []byte) { _, _ = stream.Read(p) }
}
