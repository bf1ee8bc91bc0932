package burnin

import "math/bits"

// pattern is what memory is filled with: each word follows from its number, so
// that nothing has to be kept to verify it.
type pattern struct {
	name string
	kind patternKind
	seed uint64
}

type patternKind int

const (
	constant patternKind = iota // the seed everywhere
	walking                     // the seed, rotated by one bit more in each word
	counting                    // the seed plus eight times the number: a word's own address
	random                      // bits that look random, by the seed
)

func (p pattern) word(i uint64) uint64 {
	switch p.kind {
	case walking:
		return bits.RotateLeft64(p.seed, int(i&63))
	case counting:
		return p.seed + i<<3
	case random:
		x := (i + p.seed) * 0x9e3779b97f4a7c15
		x = (x ^ x>>32) * 0xd6e8feb86659fd93
		return x ^ x>>29
	}
	return p.seed
}

// patterns of one round. Over 64 rounds each bit of each word is the one that is
// different from the others.
func patterns(round int, address, seed uint64) []pattern {
	one := bits.RotateLeft64(1, round)
	return []pattern{
		{"walking ones", walking, one},
		{"walking zeros", walking, ^one},
		{"own address", counting, address},
		{"random", random, mix(seed + uint64(round))},
	}
}

// inversions are the words of moving inversions.
func inversions(round int, seed uint64) []pattern {
	return []pattern{
		{"moving inversions of zeros", constant, 0},
		{"moving inversions of 01", constant, 0x5555555555555555},
		{"moving inversions of a random word", constant, mix(^seed + uint64(round))},
	}
}

// fill writes the words of a pattern; first is the number of words[0].
func fill(words []uint64, first uint64, p pattern) {
	for i := range words {
		words[i] = p.word(first + uint64(i))
	}
}

// wrongWord is where memory has not kept what was written.
type wrongWord struct {
	at             int // of words
	expected, read uint64
	bits           uint64 // of this and all further wrong words
	count          int    // wrong words
}

// verify compares words with the pattern; nil if all are right.
func verify(words []uint64, first uint64, p pattern) *wrongWord {
	for i, read := range words {
		if read != p.word(first+uint64(i)) {
			return judge(words, first, p, i)
		}
	}
	return nil
}

// invert compares and writes the opposite, upwards or downwards. It ends with
// the first wrong word.
func invert(words []uint64, want uint64, down bool) *wrongWord {
	for n := range words {
		i := n
		if down {
			i = len(words) - 1 - n
		}
		if read := words[i]; read != want {
			return &wrongWord{at: i, expected: want, read: read, bits: read ^ want, count: 1}
		}
		words[i] = ^want
	}
	return nil
}

// judge looks at all words from the first wrong one on.
func judge(words []uint64, first uint64, p pattern, at int) *wrongWord {
	w := &wrongWord{at: at, expected: p.word(first + uint64(at)), read: words[at]}
	for i := at; i < len(words); i++ {
		if wrong := words[i] ^ p.word(first+uint64(i)); wrong != 0 {
			w.bits |= wrong
			w.count++
		}
	}
	return w
}
