package burnin

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math"
	"math/big"
	"unsafe"

	"golang.org/x/sys/unix"
)

// computation is work of a known result. Each takes some ten milliseconds on
// a server, so that a load ends soon after it is told to.
type computation struct {
	name string
	run  func(s *scratch) error // nil if the result was right
}

// computations exercise different units of a processor. What they must
// result in is known from elsewhere: a theorem, a standard, or arithmetic that
// IEEE 754 defines to the last bit.
func computations() []computation {
	return []computation{
		{"integer division", divisions},
		{"multiplication of large numbers", lucasLehmer},
		{"floating point", logisticMap},
		{"square roots", squareRoots},
		{"matrix product", matrixProduct},
		{"AES", ciphers},
		{"SHA-2", digests},
		{"CRC-32C", checksums},
		{"memory access", pointerChase},
	}
}

// scratch is the memory of one worker, outside of the heap, so that it goes back
// to the system at once.
type scratch struct {
	mapped []byte
	chain  []uint32 // of pointerChase
	a, b   []byte
	matrix [3][]float64
}

const (
	chainLength = 1 << 20 // 4 MiB, beyond the second-level cache of most processors
	textLength  = 1 << 20
	matrixSide  = 160

	matrixBytes  = matrixSide * matrixSide * 8
	scratchBytes = 4*chainLength + 2*textLength + 3*matrixBytes
)

func newScratch() (*scratch, error) {
	mapped, err := unix.Mmap(-1, 0, scratchBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("allocate memory: %w", err)
	}
	s := &scratch{mapped: mapped}
	rest := mapped
	take := func(n int) []byte {
		part := rest[:n:n]
		rest = rest[n:]
		return part
	}
	s.chain = unsafe.Slice((*uint32)(unsafe.Pointer(&take(4 * chainLength)[0])), chainLength)
	s.a, s.b = take(textLength), take(textLength)
	for i := range s.matrix {
		s.matrix[i] = unsafe.Slice((*float64)(unsafe.Pointer(&take(matrixBytes)[0])), matrixSide*matrixSide)
	}
	// One cycle through all places (Sattolo): a walk comes back to its start
	// after as many steps as there are places, not before.
	for i := range s.chain {
		s.chain[i] = uint32(i)
	}
	for i := uint32(chainLength - 1); i > 0; i-- {
		j := uint32(mix(uint64(i)) % uint64(i))
		s.chain[i], s.chain[j] = s.chain[j], s.chain[i]
	}
	return s, nil
}

func (s *scratch) release() { _ = unix.Munmap(s.mapped) }

// mix spreads the bits of x (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func differs[T any](what string, want, got T) error {
	return fmt.Errorf("%s is %v, not %v", what, got, want)
}

// divisions counts the primes below 50000 by dividing: there are 5133.
func divisions(*scratch) error {
	const limit, primes = 50000, 5133
	found := 0
	for n := uint64(2); n < limit; n++ {
		prime := true
		for d := uint64(2); d*d <= n; d++ {
			if n%d == 0 {
				prime = false
				break
			}
		}
		if prime {
			found++
		}
	}
	if found != primes {
		return differs("number of primes below 50000", primes, found)
	}
	return nil
}

// lucasLehmer runs the test of Lucas and Lehmer for the Mersenne prime of
// exponent 2203: it ends with 0 if no step on the way was wrong.
func lucasLehmer(*scratch) error {
	const exponent = 2203
	one := big.NewInt(1)
	mersenne := new(big.Int).Sub(new(big.Int).Lsh(one, exponent), one)
	s, high, two := big.NewInt(4), new(big.Int), big.NewInt(2)
	for range exponent - 2 {
		s.Mul(s, s).Sub(s, two)
		for s.BitLen() > exponent { // modulo 2^exponent - 1
			high.Rsh(s, exponent)
			s.And(s, mersenne).Add(s, high)
		}
		if s.Cmp(mersenne) == 0 {
			s.SetInt64(0)
		}
	}
	if s.Sign() != 0 {
		return fmt.Errorf("residue of 2^%d-1 has %d bits, not 0", exponent, s.BitLen())
	}
	return nil
}

// logisticMap iterates x → 3.99·x·(1-x), which doubles an error with every other
// step: the slightest one changes the whole result. IEEE 754 leaves no choice of
// it; the conversions keep the compiler from fusing multiplication and addition.
func logisticMap(*scratch) error {
	const steps, want = 2_000_000, uint64(0x3fc8084152a48004)
	x := 0.3
	for range steps {
		x = float64(3.99*x) * float64(1-x)
	}
	if got := math.Float64bits(x); got != want {
		return fmt.Errorf("x after %d steps has the bits %#x, not %#x", steps, got, want)
	}
	return nil
}

// squareRoots takes roots of squares and divides products: both are exact.
func squareRoots(*scratch) error {
	for n := 1.0; n < 2_000_000; n += 3 {
		if root := math.Sqrt(n * n); root != n {
			return differs(fmt.Sprintf("square root of %v squared", n), n, root)
		}
		if quotient := n * 7919 / n; quotient != 7919 {
			return differs(fmt.Sprintf("7919 times %v divided by it", n), 7919, quotient)
		}
	}
	return nil
}

// matrixProduct multiplies matrices of small integers, for which floating point
// is exact, and compares the sums of rows, which follow without the product.
func matrixProduct(s *scratch) error {
	const n = matrixSide
	a, b, c := s.matrix[0], s.matrix[1], s.matrix[2]
	for i := range a {
		a[i] = float64(mix(uint64(i))%2048) - 1024
		b[i] = float64(mix(uint64(i)+1<<32)%2048) - 1024
	}
	clear(c)
	for i := range n {
		row := c[i*n : i*n+n]
		for k := range n {
			factor, other := a[i*n+k], b[k*n:k*n+n]
			for j := range row {
				row[j] += factor * other[j]
			}
		}
	}
	// c·v = a·(b·v) for the vector v of weights 1, 2, 3, …
	var inner [n]float64
	for k := range n {
		for j := range n {
			inner[k] += b[k*n+j] * float64(j+1)
		}
	}
	for i := range n {
		want, got := 0.0, 0.0
		for k := range n {
			want += a[i*n+k] * inner[k]
			got += c[i*n+k] * float64(k+1)
		}
		if got != want {
			return differs(fmt.Sprintf("weighted sum of row %d", i), want, got)
		}
	}
	return nil
}

// ciphers encrypts the block of FIPS 197, appendix C.3, and a text that must
// come back when it is decrypted, with the tag that tells of any change.
func ciphers(s *scratch) error {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	var got [aes.BlockSize]byte
	plain, _ := hex.DecodeString("00112233445566778899aabbccddeeff")
	block.Encrypt(got[:], plain)
	if want := "8ea2b7ca516745bfeafc49904b496089"; hex.EncodeToString(got[:]) != want {
		return differs("ciphertext", want, hex.EncodeToString(got[:]))
	}
	sealer, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	room := textLength - sealer.Overhead()
	clearText, nonce := s.a[:room], make([]byte, sealer.NonceSize())
	for i := range clearText {
		clearText[i] = byte(i) ^ byte(i>>8)
	}
	const times = 8
	for i := range times {
		nonce[0] = byte(i)
		sealed := sealer.Seal(s.b[:0], nonce, clearText, nil)
		if bytes.Equal(sealed[:room], clearText) {
			return fmt.Errorf("text is not encrypted")
		}
		opened, err := sealer.Open(sealed[:0], nonce, sealed, nil)
		if err != nil {
			return fmt.Errorf("text of %d bytes: %w", room, err)
		}
		if !bytes.Equal(opened, clearText) {
			return fmt.Errorf("text of %d bytes is not what was encrypted", room)
		}
	}
	return nil
}

// digests are those of a million times "a" (FIPS 180-2, appendices B.3 and C.3).
func digests(s *scratch) error {
	const length = 1_000_000
	const (
		want256 = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
		want512 = "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb" +
			"de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b"
	)
	text := s.a[:length]
	for i := range text {
		text[i] = 'a'
	}
	const times = 4
	for range times {
		if got := sha256.Sum256(text); hex.EncodeToString(got[:]) != want256 {
			return differs("SHA-256", want256, hex.EncodeToString(got[:]))
		}
		if got := sha512.Sum512(text); hex.EncodeToString(got[:]) != want512 {
			return differs("SHA-512", want512, hex.EncodeToString(got[:]))
		}
	}
	return nil
}

// checksums is the checksum of RFC 3720, appendix B.4 (32 bytes of zeros), and a
// property of it: that of a text with its own checksum behind is always the same.
func checksums(s *scratch) error {
	table := crc32.MakeTable(crc32.Castagnoli)
	const want, residue = 0x8a9136aa, 0x48674bc7
	if got := crc32.Checksum(make([]byte, 32), table); got != want {
		return fmt.Errorf("checksum of zeros is %#x, not %#x", got, uint32(want))
	}
	const times = 32
	body := s.a[:textLength-4]
	for i := range times {
		for j := i; j < len(body); j += 64 {
			body[j] = byte(j>>6) + byte(i)
		}
		sum := crc32.Checksum(body, table)
		s.a[textLength-4], s.a[textLength-3], s.a[textLength-2], s.a[textLength-1] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		if got := crc32.Checksum(s.a, table); got != residue {
			return fmt.Errorf("checksum over text and checksum is %#x, not %#x", got, uint32(residue))
		}
	}
	return nil
}

// pointerChase goes once around the cycle and adds up the places.
func pointerChase(s *scratch) error {
	at, sum := uint32(0), uint64(0)
	for range chainLength {
		at = s.chain[at]
		sum += uint64(at)
	}
	if at != 0 {
		return differs("place after a walk around", 0, at)
	}
	if want := uint64(chainLength) * (chainLength - 1) / 2; sum != want {
		return differs("sum of the places", want, sum)
	}
	return nil
}
