package execplugin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"ferric/api/ipa"
)

// Bounds of what is read of a plugin.
const (
	maxLine       = 8 << 20  // bytes of one line of its output
	maxOutput     = 32 << 20 // bytes of standard output or standard error in one call
	maxDepth      = 64       // arrays and objects in each other
	maxStepResult = 1 << 20  // bytes
)

// reply is what the lines of a plugin's output amount to.
type reply struct {
	result json.RawMessage // null is "null"
	failed *failure
	reboot json.RawMessage
	warm   bool   // the reboot shall not switch the machine off
	ended  string // kind of the last line, once it has come: "result", "error", "reboot"
	wrong  string // what is wrong with the first line that is, as the end of a sentence
}

// failure is a plugin's error.
type failure struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// progressReport is a plugin's report on how far it is.
type progressReport struct {
	Phase       string   `json:"phase"`
	Percent     *float64 `json:"percent"`
	Done        int64    `json:"done"`  // bytes, as all that follows
	Total       int64    `json:"total"` // 0 for unknown
	Written     int64    `json:"written"`
	BytesPerSec float64  `json:"bytes_per_second"`
	SecondsLeft *float64 `json:"seconds_left"`
}

func (r progressReport) check() error {
	switch {
	case r.Percent != nil && (*r.Percent < 0 || *r.Percent > 100):
		return fmt.Errorf("percent %v: want 0 to 100", *r.Percent)
	case r.Done < 0 || r.Total < 0 || r.Written < 0 || r.BytesPerSec < 0:
		return errors.New("a number of bytes is negative")
	}
	return nil
}

// progress is the report for the conductor. One that has only percent has them
// as what is done of a hundred.
func (r progressReport) progress() ipa.Progress {
	p := ipa.Progress{Phase: r.Phase, Done: r.Done, Total: r.Total, Written: r.Written, BytesPerSec: r.BytesPerSec, SecondsLeft: -1}
	if r.Percent != nil && r.Total == 0 {
		p.Done, p.Total = int64(math.Round(*r.Percent)), 100
	}
	if r.SecondsLeft != nil {
		p.SecondsLeft = *r.SecondsLeft
	}
	return p
}

// fraction is how much of the work is done, 0 to 1.
func (r progressReport) fraction() float64 {
	switch {
	case r.Percent != nil:
		return *r.Percent / 100
	case r.Total > 0:
		return min(float64(r.Done)/float64(r.Total), 1)
	}
	return 0
}

// read takes in lines until their end. One that is wrong is no reason to stop
// a plugin in the middle of its work; the error is, which says as the end of a
// sentence what it does too much.
func (r *reply) read(from io.Reader, progress func(progressReport)) error {
	lines := bufio.NewReaderSize(from, 64<<10)
	total := 0
	var line []byte
	for {
		part, err := lines.ReadSlice('\n')
		if total += len(part); total > maxOutput {
			return fmt.Errorf("wrote more than %d MiB to standard output", maxOutput>>20)
		}
		if len(line)+len(part) > maxLine {
			return fmt.Errorf("wrote a line of more than %d MiB to standard output", maxLine>>20)
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if r.wrong == "" {
			if problem := r.line(bytes.TrimSpace(line), progress); problem != nil {
				r.wrong = problem.Error()
			}
		}
		line = line[:0]
		if err != nil {
			return nil // there is no more, however it ended
		}
	}
}

// line takes in one line.
func (r *reply) line(text []byte, progress func(progressReport)) error {
	if len(text) == 0 {
		return nil
	}
	if r.ended != "" {
		return fmt.Errorf("wrote a further line after its %s: %s", r.ended, excerpt(text))
	}
	kind, value, err := member(text)
	if err != nil {
		return fmt.Errorf("wrote a line to standard output that %w: %s", err, excerpt(text))
	}
	switch kind {
	case "progress":
		var report progressReport
		err := decode(value, &report)
		if err == nil {
			err = report.check()
		}
		if err != nil {
			return fmt.Errorf("wrote progress that is wrong: %s: %s", reason(err), excerpt(text))
		}
		if progress != nil {
			progress(report)
		}
		return nil
	case "result":
		if err := storable(value); err != nil {
			return fmt.Errorf("wrote a result that %w: %s", err, excerpt(text))
		}
		r.result = bytes.Clone(value)
	case "error":
		if err := decode(value, &r.failed); err != nil {
			return fmt.Errorf("wrote an error that is wrong: %s: %s", reason(err), excerpt(text))
		}
		if r.failed == nil || strings.TrimSpace(r.failed.Message) == "" {
			return fmt.Errorf("wrote an error without a message: %s", excerpt(text))
		}
	case "reboot":
		if value[0] != '{' {
			return fmt.Errorf("wrote a reboot that is not an object: %s", excerpt(text))
		}
		if err := storable(value); err != nil {
			return fmt.Errorf("wrote a reboot that %w: %s", err, excerpt(text))
		}
		warm, err := warmth(text)
		if err != nil {
			return fmt.Errorf("wrote a reboot that %w: %s", err, excerpt(text))
		}
		r.reboot, r.warm = bytes.Clone(value), warm
	}
	r.ended = kind
	return nil
}

// warmth is the member warm of a line with a reboot.
func warmth(text []byte) (bool, error) {
	var line struct {
		Warm json.RawMessage `json:"warm"`
	}
	err := json.Unmarshal(text, &line)
	switch said := string(line.Warm); {
	case err != nil, said != "" && said != "true" && said != "false":
		return false, errors.New("has a warm that is neither true nor false")
	default:
		return said == "true", nil
	}
}

// member is the one member of a line's object that the protocol knows. The
// error goes on a sentence about the line.
func member(text []byte) (kind string, value json.RawMessage, err error) {
	if !utf8.Valid(text) {
		return "", nil, errors.New("is not UTF-8")
	}
	if deep(text) {
		return "", nil, fmt.Errorf("has more than %d arrays and objects in each other", maxDepth)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		if json.Valid(text) {
			return "", nil, errors.New("is not a JSON object")
		}
		if why := reason(err); !strings.HasPrefix(why, "unexpected end") {
			return "", nil, fmt.Errorf("is not JSON (%s)", why)
		}
		return "", nil, errors.New("is not JSON (it ends too early: an object has to be on one line)")
	}
	for _, known := range [...]string{"progress", "result", "error", "reboot"} {
		v, there := members[known]
		if !there {
			continue
		}
		if kind != "" {
			return "", nil, fmt.Errorf("has both %s and %s", kind, known)
		}
		kind, value = known, v
	}
	if kind == "" {
		return "", nil, errors.New(`has none of "progress", "result", "error", "reboot"`)
	}
	return kind, value, nil
}

// storable is nil if everybody can read value: a conductor that could not would
// lose the answer of the agent that it is a part of.
func storable(value json.RawMessage) error {
	var numbers any
	if err := json.Unmarshal(value, &numbers); err != nil {
		return fmt.Errorf("nobody can read (%s)", reason(err))
	}
	return nil
}

// deep reports whether JSON is nested too deeply to be decoded for sure.
func deep(text []byte) bool {
	depth, quoted, escaped := 0, false, false
	for _, b := range text {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped = b == '\\'
			quoted = b != '"'
		case b == '"':
			quoted = true
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

// decode decodes one value; numbers in an any keep their digits.
func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// reason is an error of package json without its name of Go's types.
func reason(err error) string {
	var typed *json.UnmarshalTypeError
	if !errors.As(err, &typed) {
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	place := ""
	if typed.Field != "" {
		place = typed.Field + " "
	}
	return fmt.Sprintf("%sis a %s, want %s", place, typed.Value, wanted(typed.Type.Kind().String()))
}

// wanted is the name that JSON has for a kind of Go's types.
func wanted(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "slice":
		return "an array"
	case kind == "map", kind == "struct":
		return "an object"
	case kind == "bool":
		return "true or false"
	}
	return "a " + kind
}

// excerpt is the beginning of what a plugin wrote, for an error.
func excerpt(text []byte) string {
	const most = 160
	if len(text) <= most {
		return clean(string(text))
	}
	return clean(string(text[:most])) + "…"
}

// clean is text without what does not belong into a log: bytes that are no
// text, and control characters.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
