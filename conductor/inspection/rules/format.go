package rules

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errors of formatting. Such a text stays as it is, but is nothing for
// is-empty when what it names is missing.
var (
	errMissing = errors.New("is not there")
	errTooLong = fmt.Errorf("is longer than %d bytes", maxText)
)

// valueCost is what a value counts beside its text.
const valueCost = 16

// secrets are masked wherever they are in inventory and plugin data.
var secrets = []string{"password", "auth_token", "bmc_password"}

const maskedSecret = "***"

// interpolate formats all texts in a value of the rule.
func (e *evaluation) interpolate(value any, item *any, op string) any {
	e.formatted += valueCost // loops copy what is no text, too
	switch v := value.(type) {
	case string:
		out, err := e.format(v, item)
		switch {
		case err == nil:
			return out
		case op == "is-empty" && errors.Is(err, errMissing):
			return nil
		}
		e.log("warning", fmt.Sprintf("The text %.200q of an inspection rule is taken as it is: %v.", v, err))
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, part := range v {
			name, isText := e.interpolate(key, item, "").(string)
			if !isText {
				name = key
			}
			out[name] = e.interpolate(part, item, op)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, part := range v {
			out[i] = e.interpolate(part, item, op)
		}
		return out
	}
	return value
}

func (e *evaluation) log(level, text string) {
	if e.env.Log != nil {
		e.env.Log(level, text)
	}
}

// format is Python's str.format with the names node, inventory, plugin_data
// and, in a loop, item.
func (e *evaluation) format(format string, item *any) (string, error) {
	if e.formatted > maxFormatted {
		return "", errTooLong
	}
	out := &bounded{}
	for i := 0; i < len(format); {
		switch c := format[i]; {
		case c != '{' && c != '}':
			end := strings.IndexAny(format[i:], "{}")
			if end < 0 {
				end = len(format) - i
			}
			out.write(format[i : i+end])
			i += end
		case i+1 < len(format) && format[i+1] == c:
			out.write(string(c))
			i += 2
		case c == '}':
			return "", errors.New("has a single }")
		default:
			field, length, err := parseField(format[i+1:])
			if err != nil {
				return "", err
			}
			if err := e.writeField(out, field, item); err != nil {
				return "", err
			}
			i += 1 + length
		}
		if out.full {
			e.formatted += maxText
			return "", errTooLong
		}
	}
	e.formatted += out.Len()
	return out.String(), nil
}

// field is what stands between braces: name!conversion:spec.
type field struct {
	name, conversion, spec string
}

// parseField reads a field up to its brace and tells how long it is, brace included.
func parseField(text string) (field, int, error) {
	var f field
	end := strings.IndexByte(text, '}')
	if end < 0 {
		return f, 0, errors.New("has a { that is not closed")
	}
	f.name = text[:end]
	name := 0 // where it ends; brackets may hold anything
	for name < len(f.name) && f.name[name] != '!' && f.name[name] != ':' {
		if f.name[name] == '[' {
			if closing := strings.IndexByte(f.name[name:], ']'); closing > 0 {
				name += closing
			}
		}
		name++
	}
	name = min(name, len(f.name))
	rest := f.name[name:]
	f.name = f.name[:name]
	if strings.HasPrefix(rest, "!") {
		f.conversion, rest, _ = strings.Cut(rest[1:], ":")
		if !slices.Contains([]string{"s", "r", "a"}, f.conversion) {
			return f, 0, errors.New("has an unknown conversion")
		}
		f.spec = rest
	} else {
		f.spec = strings.TrimPrefix(rest, ":")
	}
	if strings.Contains(f.name, "{") || strings.Contains(f.spec, "{") {
		return f, 0, errors.New("has braces in braces")
	}
	return f, end + 1, nil
}

func (e *evaluation) writeField(out *bounded, f field, item *any) error {
	value, masked, err := e.lookup(f.name, item)
	if err != nil {
		return err
	}
	if f.conversion == "" && f.spec == "" {
		out.value(value, masked, false)
		return nil
	}
	if f.conversion != "" {
		part := &bounded{}
		part.value(value, masked, f.conversion != "s")
		if part.full {
			return errTooLong
		}
		value = part.String()
	}
	shown, err := applySpec(value, f.spec)
	out.write(shown)
	return err
}

var accessor = regexp.MustCompile(`^(?:\.([^.\[\]]+)|\[([^\]]+)\])`)

// lookup finds what a name with its accessors stands for.
func (e *evaluation) lookup(name string, item *any) (value any, masked bool, err error) {
	end := strings.IndexAny(name, ".[")
	if end < 0 {
		end = len(name)
	}
	switch root := name[:end]; {
	case root == "node":
		value = e.s.Node
	case root == "inventory":
		value, masked = e.s.Inventory, e.masked
	case root == "plugin_data":
		value, masked = e.s.PluginData, e.masked
	case root == "item" && item != nil:
		value = *item
	default:
		return nil, false, fmt.Errorf("%.100q %w", root, errMissing)
	}
	for rest := name[end:]; rest != ""; {
		m := accessor.FindStringSubmatch(rest)
		if m == nil {
			return nil, false, fmt.Errorf("%.100q is no way to a value", rest)
		}
		rest = rest[len(m[0]):]
		if value, err = step(value, m[1]+m[2], masked); err != nil {
			return nil, false, err
		}
	}
	return value, masked, nil
}

func step(value any, key string, masked bool) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		part, ok := v[key]
		if !ok {
			return nil, fmt.Errorf("%.100q %w", key, errMissing)
		}
		if masked && slices.Contains(secrets, key) {
			return maskedSecret, nil
		}
		return part, nil
	case []any:
		i, err := strconv.Atoi(key)
		if err != nil || i < 0 || i >= len(v) {
			return nil, fmt.Errorf("there is no item %.100q in a list of %d", key, len(v))
		}
		return v[i], nil
	}
	return nil, fmt.Errorf("%.100q is asked of what has no parts", key)
}

var formatSpec = regexp.MustCompile(`^(?:(.)?([<>^]))?(0?)([0-9]{0,3})(?:\.([0-9]{1,2}))?([sdxXof]?)$`)

// applySpec pads and rounds as the common ones of Python's format
// specifications say.
func applySpec(value any, spec string) (string, error) {
	m := formatSpec.FindStringSubmatch(spec)
	if m == nil {
		return "", fmt.Errorf("has the format %.50q, which is not known", spec)
	}
	fill, align, kind := m[1], m[2], m[6]
	if m[3] == "0" && align == "" {
		fill, align = "0", ">"
	}
	shown := text(value)
	n, isNumber := value.(float64)
	switch {
	case value == nil:
		return "", errors.New("formats nothing")
	case kind == "f" && isNumber:
		digits := 6
		if m[5] != "" {
			digits, _ = strconv.Atoi(m[5])
		}
		shown = strconv.FormatFloat(n, 'f', digits, 64)
	case strings.Contains("dxXo", kind) && kind != "" && isNumber && n == math.Trunc(n) && math.Abs(n) < 1<<53:
		shown = fmt.Sprintf("%"+kind, int64(n))
	case kind != "" && kind != "s" || kind == "s" && isNumber:
		return "", fmt.Errorf("has the format %.50q for what is no such thing", spec)
	case m[5] != "":
		digits, _ := strconv.Atoi(m[5])
		if runes := []rune(shown); len(runes) > digits {
			shown = string(runes[:digits])
		}
	}
	width, _ := strconv.Atoi(m[4])
	missing := max(0, width-utf8.RuneCountInString(shown))
	if fill == "" {
		fill = " "
	}
	left := 0
	switch {
	case align == ">" || align == "" && isNumber:
		left = missing
	case align == "^":
		left = missing / 2
	}
	return strings.Repeat(fill, left) + shown + strings.Repeat(fill, missing-left), nil
}

// text is a value as Python's str shows it.
func text(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	out := &bounded{}
	out.value(value, false, false)
	return out.String()
}

// bounded collects a text of at most maxText bytes.
type bounded struct {
	strings.Builder
	full bool
}

func (b *bounded) write(s string) {
	if b.full = b.full || b.Len()+len(s) > maxText; !b.full {
		b.WriteString(s)
	}
}

// value writes what Python's str, or repr where quoted, makes of a JSON value.
func (b *bounded) value(value any, masked, quoted bool) {
	if b.full {
		return
	}
	switch v := value.(type) {
	case nil:
		b.write("None")
	case bool:
		b.write(map[bool]string{true: "True", false: "False"}[v])
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			b.write(strconv.FormatInt(int64(v), 10))
			return
		}
		b.write(strconv.FormatFloat(v, 'g', -1, 64))
	case string:
		if !quoted {
			b.write(v)
			return
		}
		quote := "'"
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			quote = `"`
		}
		escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, quote, `\`+quote).Replace(v)
		b.write(quote + escaped + quote)
	case []any:
		b.write("[")
		for i, part := range v {
			if i > 0 {
				b.write(", ")
			}
			b.value(part, masked, true)
			if b.full {
				return
			}
		}
		b.write("]")
	case map[string]any:
		b.write("{")
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.write(", ")
			}
			b.value(key, masked, true)
			b.write(": ")
			if masked && slices.Contains(secrets, key) {
				b.value(maskedSecret, masked, true)
			} else {
				b.value(v[key], masked, true)
			}
			if b.full {
				return
			}
		}
		b.write("}")
	default:
		b.write(fmt.Sprint(v))
	}
}
