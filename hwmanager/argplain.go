package hwmanager

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// plain is the value as JSON has it: what callers within the program may give
// (a []string, an int32) becomes what a decoder makes of it.
func plain(value any) any {
	switch value.(type) {
	case nil, bool, string, float64, json.Number, map[string]any, []any:
		return value
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return value
	}
	var decoded any
	if decodeNumbers(encoded, &decoded) != nil {
		return value
	}
	return decoded
}

// decodeNumbers decodes JSON; numbers stay as they are written.
func decodeNumbers(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one value")
	}
	return nil
}

func (d *decoder) wrong(path, want string, value any) {
	d.fail(path, "must be %s, not %s", want, kindName(value))
}

func kindName(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a text"
	case float64, json.Number:
		return "a number"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	return fmt.Sprintf("a %T", value)
}

// number takes a json.Number and a float64. 3.0 is whole, 3.5 is not.
func (d *decoder) number(path string, value any, into reflect.Value, kind argKind) {
	var text string
	switch n := value.(type) {
	case json.Number:
		text = n.String()
	case float64:
		text = strconv.FormatFloat(n, 'f', -1, 64)
	default:
		d.wrong(path, "a number", value)
		return
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.fail(path, "must be a number, not %s", clip(text))
		return
	}
	if f == math.Trunc(f) && strings.ContainsAny(text, ".eE") && kind != floatArg && kind != numberArg {
		text = strconv.FormatFloat(f, 'f', 0, 64) // 1e3 and 3.0 are integers, too
	}
	bits := 0
	if kind != numberArg {
		bits = into.Type().Bits()
	}
	switch kind {
	case numberArg:
		into.SetString(text)
	case floatArg:
		if into.OverflowFloat(f) {
			d.fail(path, "is too large")
			return
		}
		into.SetFloat(f)
	case intArg:
		n, err := strconv.ParseInt(text, 10, bits)
		if errors.Is(err, strconv.ErrRange) {
			d.fail(path, "must be from %d to %d", int64(-1)<<(bits-1), int64(1)<<(bits-1)-1)
			return
		}
		if err != nil {
			d.fail(path, "must be a whole number, not %s", clip(text))
			return
		}
		into.SetInt(n)
	case uintArg:
		n, err := strconv.ParseUint(text, 10, bits)
		if errors.Is(err, strconv.ErrRange) || f < 0 {
			d.fail(path, "must be from 0 to %d", uint64(math.MaxUint64)>>(64-bits))
			return
		}
		if err != nil {
			d.fail(path, "must be a whole number, not %s", clip(text))
			return
		}
		into.SetUint(n)
	}
}

// duration takes text such as "90s", and seconds.
func (d *decoder) duration(path string, value any, into reflect.Value) {
	if text, ok := value.(string); ok {
		duration, err := time.ParseDuration(text)
		if err != nil {
			d.fail(path, "must be a duration such as 90s or 1h30m, not %q", clip(text))
			return
		}
		into.SetInt(int64(duration))
		return
	}
	var seconds float64
	switch value.(type) {
	case json.Number, float64:
		d.number(path, value, reflect.ValueOf(&seconds).Elem(), floatArg)
	default:
		d.wrong(path, "a duration such as 90s", value)
		return
	}
	if math.Abs(seconds) > math.MaxInt64/float64(time.Second)-1 {
		d.fail(path, "is too long")
		return
	}
	into.SetInt(int64(seconds * float64(time.Second)))
}

func (d *decoder) text(path string, value any, into reflect.Value, kind argKind) {
	text, ok := value.(string)
	if !ok {
		d.wrong(path, "a text", value)
		return
	}
	switch kind {
	case bytesArg:
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			d.fail(path, "must be base64: %v", err)
			return
		}
		into.SetBytes(data)
	case ownTextArg:
		able := into.Addr().Interface().(encoding.TextUnmarshaler)
		if err := recovered(func() error { return able.UnmarshalText([]byte(text)) }); err != nil {
			d.fail(path, "is wrong: %s", oneLine(err))
		}
	default:
		into.SetString(text)
	}
}

// sameAs tells whether a value is the one that an enum writes as text.
func sameAs(value reflect.Value, text string) bool {
	other := reflect.New(value.Type()).Elem()
	d := decoder{}
	d.value("", fromTag(value.Type(), text), other, argField{}, 0)
	return len(d.faults) == 0 && reflect.DeepEqual(value.Interface(), other.Interface())
}
