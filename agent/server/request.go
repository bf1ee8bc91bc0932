package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"ferric/api/ipa"
)

// maxDepth bounds how deeply the body of a command is nested: what is echoed
// in a result stands deeper there, and must not become too deep to be encoded.
const maxDepth = 500

// DecodeRequest reads the body of a command: one JSON object with the string
// name and the object params. Size is the length of the body in bytes if it is
// known; with it a large body is held once as text and once decoded, not more.
//
// Numbers are float64, except those that would not stay what they are: these
// are json.Number, so that a step is echoed as it was received.
func DecodeRequest(r io.Reader, size int64) (ipa.Request, error) {
	// Not by Grow, which takes twice as much in a build for the race detector.
	body := bytes.NewBuffer(make([]byte, 0, min(max(size, 0), maxBody)+bytes.MinRead))
	if _, err := body.ReadFrom(r); err != nil {
		return ipa.Request{}, fmt.Errorf("read command: %w", err)
	}
	depth, long := survey(body.Bytes())
	if depth > maxDepth {
		return ipa.Request{}, fmt.Errorf("decode command: nested more than %d deep", maxDepth)
	}
	var object map[string]any
	if err := decode(body.Bytes(), long, &object); err != nil {
		return ipa.Request{}, fmt.Errorf("decode command: %w", err)
	}
	name, _ := object["name"].(string)
	params, _ := object["params"].(map[string]any)
	if name == "" || params == nil {
		return ipa.Request{}, errors.New("decode command: name or params is missing")
	}
	return ipa.Request{Name: name, Params: params}, nil
}

// decode reads one JSON value. With long numbers in it more memory is needed.
func decode(text []byte, long bool, object *map[string]any) error {
	if !long {
		return json.Unmarshal(text, object)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(object); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one value")
	}
	for key, value := range *object {
		(*object)[key] = shortNumbers(value)
	}
	return nil
}

// shortNumbers replaces the numbers in value that a float64 holds.
func shortNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		f, err := v.Float64()
		mantissa, _, scaled := strings.Cut(strings.ToLower(string(v)), "e")
		if err == nil && isShort(mantissa) && (!scaled || math.Abs(f) > leastNormal) {
			return f
		}
	case map[string]any:
		for key, member := range v {
			v[key] = shortNumbers(member)
		}
	case []any:
		for i, member := range v {
			v[i] = shortNumbers(member)
		}
	}
	return value
}

const (
	// exactDigits is how many decimal digits a float64 holds, whatever they are.
	exactDigits = 15
	// leastNormal is the least number that a float64 holds with all its digits.
	leastNormal = 0x1p-1022
)

// isShort reports whether a number without an exponent has few enough
// characters for a float64 to hold it.
func isShort(number string) bool {
	return len(number) <= exactDigits && !strings.ContainsAny(number, "eE")
}

// survey finds out how deeply a JSON text is nested and whether there are
// numbers in it that are not short. It does not check the syntax.
func survey(text []byte) (depth int, long bool) {
	open := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '{' || c == '[':
			open++
			depth = max(depth, open)
		case c == '}' || c == ']':
			open--
		case c == '-' || '0' <= c && c <= '9':
			end := i
			for end < len(text) && bytes.IndexByte([]byte("+-.eE0123456789"), text[end]) >= 0 && end-i <= math.MaxInt16 {
				end++
			}
			long = long || !isShort(string(text[i:min(end, i+exactDigits+1)]))
			i = end - 1
		}
	}
	return depth, long
}
