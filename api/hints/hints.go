// Package hints parses root-device hints, the wishes of an operator about
// which disk gets the operating system, and matches them against disks.
//
// The grammar is that of the agent contract, section "Root device selection".
package hints

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"ferric/api/ipa"
)

// ErrInvalid is wrapped by every error of Parse: an unknown hint, a value of
// the wrong type or an operator that does not fit.
var ErrInvalid = errors.New("invalid root device hint")

// maxValue bounds the length of one hint in bytes; the longest real ones
// (by_path of a fabric disk) have about 200.
const maxValue = 4096

// Hints are parsed root-device hints. All of them have to match.
type Hints []hint

// hint is one condition on one attribute.
type hint struct {
	name   string
	op     string // operator as in the grammar; never empty, except for booleans
	words  []string
	nums   []float64
	bounds [2]bool // of <range-in>: lower, upper bound included
	truth  bool    // value of a boolean hint
}

// kind is the type of a hint's value.
type kind int

const (
	text kind = iota
	number
	boolean
)

// kinds lists every hint there is.
var kinds = map[string]kind{
	"size": number, "rotational": boolean,
	"name": text, "by_path": text, "hctl": text, "tran": text,
	"model": text, "vendor": text, "serial": text,
	"wwn": text, "wwn_with_extension": text, "wwn_vendor_extension": text,
}

// Operators by the kind of value that they take. The order matters: an
// operator stands before those that it begins with.
var (
	textOps   = []string{"s==", "s!=", "s>=", "s>", "s<=", "s<", "<all-in>", "<in>", "<or>"}
	numberOps = []string{"==", "!=", ">=", ">", "<=", "<range-in>", "<or>", "<", "="}
)

// Parse reads hints as they stand in root_device of a node. An empty object
// gives no hints. All problems are reported at once.
func Parse(object map[string]any) (Hints, error) {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	sort.Strings(names)

	var parsed Hints
	var problems []error
	for _, name := range names {
		h, err := parseOne(name, object[name])
		if err != nil {
			problems = append(problems, fmt.Errorf("%w %q: %w", ErrInvalid, name, err))
			continue
		}
		parsed = append(parsed, h)
	}
	return parsed, errors.Join(problems...)
}

func parseOne(name string, value any) (hint, error) {
	k, known := kinds[name]
	if !known {
		return hint{}, errors.New("there is no such hint")
	}
	if k == boolean {
		truth, err := strictBool(value)
		return hint{name: name, truth: truth}, err
	}
	expression, err := expressionOf(value, k)
	if err != nil {
		return hint{}, err
	}
	if k == number {
		return parseNumber(name, expression)
	}
	return parseText(name, expression)
}

// strictBool takes JSON booleans, one and zero, and the words that OpenStack
// counts as a boolean.
func strictBool(value any) (bool, error) {
	switch v := value.(type) {
	case bool:
		return v, nil
	case float64:
		if v == 0 || v == 1 {
			return v == 1, nil
		}
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "t", "yes", "y", "on", "1":
			return true, nil
		case "false", "f", "no", "n", "off", "0":
			return false, nil
		}
	}
	return false, fmt.Errorf("%v is not a boolean", value)
}

func expressionOf(value any, k kind) (string, error) {
	var s string
	switch v := value.(type) {
	case string:
		s = v
	case float64:
		if k == text {
			return "", fmt.Errorf("%v is not a string", v)
		}
		s = strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		if k == text {
			return "", fmt.Errorf("%v is not a string", v)
		}
		s = strconv.Itoa(v)
	default:
		return "", fmt.Errorf("value of type %T is not allowed", value)
	}
	if len(s) > maxValue {
		return "", fmt.Errorf("value is longer than %d bytes", maxValue)
	}
	s = strings.ToLower(strings.TrimSpace(s))
	if s == "" {
		return "", errors.New("value is empty")
	}
	return s, nil
}

func parseText(name, expression string) (hint, error) {
	for _, op := range []string{"==", "!=", ">=", "<=", "<range-in>"} {
		if strings.HasPrefix(expression, op+" ") {
			return hint{}, fmt.Errorf("operator %q compares numbers, but the hint is a text", op)
		}
	}
	op, rest := cutOperator(expression, textOps)
	h := hint{name: name, op: op}
	switch op {
	case "":
		h.op, h.words = "s==", []string{encode(expression)}
	case "<or>":
		h.words = alternatives(rest)
	case "<all-in>":
		for _, word := range strings.Fields(rest) {
			h.words = append(h.words, encode(word))
		}
	default:
		if rest != "" {
			h.words = []string{encode(rest)}
		}
	}
	if len(h.words) == 0 {
		return hint{}, fmt.Errorf("operator %q has no value", op)
	}
	return h, nil
}

// alternatives splits "a <or> b" at the operator.
func alternatives(rest string) []string {
	var words []string
	for part := range strings.SplitSeq(rest, "<or>") {
		if part = strings.TrimSpace(part); part != "" {
			words = append(words, encode(part))
		}
	}
	return words
}

func parseNumber(name, expression string) (hint, error) {
	op, rest := cutOperator(expression, numberOps)
	h := hint{name: name, op: op}
	var words []string
	switch op {
	case "":
		h.op, words = "==", []string{expression}
	case "<range-in>":
		var err error
		if words, err = h.cutBounds(rest); err != nil {
			return hint{}, err
		}
	case "<or>":
		words = alternatives(rest)
	default:
		words = []string{rest}
	}
	for _, word := range words {
		// Sizes are positive whole numbers; only a range may begin at zero.
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil || n < 0 || n == 0 && op != "<range-in>" {
			return hint{}, fmt.Errorf("%q is not a positive integer", word)
		}
		h.nums = append(h.nums, float64(n))
	}
	if len(h.nums) == 0 {
		return hint{}, fmt.Errorf("operator %q has no value", op)
	}
	return h, nil
}

// cutBounds takes "[ a b )" apart: a bracket includes the bound, a
// parenthesis excludes it.
func (h *hint) cutBounds(rest string) ([]string, error) {
	rest = strings.NewReplacer("[", "[ ", "(", "( ", "]", " ]", ")", " )").Replace(rest)
	parts := strings.Fields(rest)
	if len(parts) != 4 || (parts[0] != "[" && parts[0] != "(") || (parts[3] != "]" && parts[3] != ")") {
		return nil, errors.New("a range has the form <range-in> [ from to ]")
	}
	h.bounds = [2]bool{parts[0] == "[", parts[3] == "]"}
	return parts[1:3], nil
}

func cutOperator(expression string, ops []string) (op, rest string) {
	for _, op := range ops {
		if rest, found := strings.CutPrefix(expression, op); found {
			return op, strings.TrimSpace(rest)
		}
	}
	return "", expression
}

// encode percent-encodes what is not a letter, digit or one of "_.-~/". The
// order of the encoded texts is what the ordering operators compare.
func encode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.-~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// Match reports whether the disk satisfies all hints. More holds further
// values of attributes by the hint's name (a serial number that the kernel
// shows in two notations, say); one that matches is enough, but for "s!=", which
// all have to.
func (hs Hints) Match(disk ipa.BlockDevice, more map[string][]string) bool {
	for _, h := range hs {
		if !h.match(disk, more[h.name]) {
			return false
		}
	}
	return true
}

func (h hint) match(disk ipa.BlockDevice, more []string) bool {
	switch kinds[h.name] {
	case number:
		return h.matchNumber(float64(disk.Size) / (1 << 30))
	case boolean:
		return disk.Rotational == h.truth
	}
	matches := func(value string) bool { return h.matchText(encode(strings.ToLower(strings.TrimSpace(value)))) }
	values := append([]string{attribute(disk, h.name)}, more...)
	if h.op == "s!=" {
		// A disk that is ruled out is so in each of its notations.
		return !slices.ContainsFunc(values, func(value string) bool { return !matches(value) })
	}
	return slices.ContainsFunc(values, matches)
}

// attribute is the text that a hint compares with; an unknown fact reads
// "none" (agent contract, section "Root device selection").
func attribute(disk ipa.BlockDevice, name string) string {
	var value *string
	switch name {
	case "name":
		return disk.Name
	case "by_path":
		value = disk.ByPath
	case "hctl":
		value = disk.HCTL
	case "tran":
		value = disk.Tran
	case "model":
		value = disk.Model
	case "vendor":
		value = disk.Vendor
	case "serial":
		value = disk.Serial
	case "wwn":
		value = disk.WWN
	case "wwn_with_extension":
		value = disk.WWNWithExtension
	case "wwn_vendor_extension":
		value = disk.WWNVendorExtension
	}
	if value == nil {
		return "none"
	}
	return *value
}

func (h hint) matchText(value string) bool {
	first := h.words[0]
	switch h.op {
	case "s==":
		return value == first
	case "s!=":
		return value != first
	case "s>=":
		return value >= first
	case "s>":
		return value > first
	case "s<=":
		return value <= first
	case "s<":
		return value < first
	case "<in>":
		return strings.Contains(value, first)
	case "<all-in>":
		for _, word := range h.words {
			if !strings.Contains(value, word) {
				return false
			}
		}
		return true
	default: // <or>
		for _, word := range h.words {
			if value == word {
				return true
			}
		}
		return false
	}
}

func (h hint) matchNumber(value float64) bool {
	first := h.nums[0]
	switch h.op {
	case "==":
		return value == first
	case "!=":
		return value != first
	case "=", ">=":
		return value >= first
	case ">":
		return value > first
	case "<=":
		return value <= first
	case "<":
		return value < first
	case "<range-in>":
		above := value > first || h.bounds[0] && value == first
		below := value < h.nums[1] || h.bounds[1] && value == h.nums[1]
		return above && below
	default: // <or>
		for _, n := range h.nums {
			if value == n {
				return true
			}
		}
		return false
	}
}
