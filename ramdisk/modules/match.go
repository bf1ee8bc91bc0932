package modules

import "strings"

// normalise writes '-' as '_' outside brackets, as modprobe does with both sides of a match.
func normalise(s string) string {
	if !strings.Contains(s, "-") {
		return s
	}
	b := []byte(s)
	inside := false
	for i, c := range b {
		switch {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '-' && !inside:
			b[i] = '_'
		}
	}
	return string(b)
}

// match is fnmatch(3) without flags: '*', '?' and '[...]' with ranges and '!', where no
// character is special in the text. It needs time of at most len(pattern)*len(text).
func match(pattern, text string) bool {
	p, t := 0, 0
	star, mark := -1, 0 // the last '*' and where the text after it was tried
	for t < len(text) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, t
			p++
			continue
		}
		if n, ok := matchOne(pattern[p:], text[t]); ok {
			p += n
			t++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, t = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one character with the pattern's first element and returns its length.
func matchOne(pattern string, c byte) (int, bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		if n := strings.IndexByte(pattern[1:], ']'); n >= 0 {
			return n + 2, inSet(pattern[1:n+1], c)
		}
	}
	return 1, pattern[0] == c
}

func inSet(set string, c byte) bool {
	negate := strings.HasPrefix(set, "!")
	set = strings.TrimPrefix(set, "!")
	found := false
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			found = found || set[i] <= c && c <= set[i+2]
			i += 2
			continue
		}
		found = found || set[i] == c
	}
	return found != negate
}
