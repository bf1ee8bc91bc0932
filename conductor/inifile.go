package conductor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// An option is one key of an INI file in oslo.config's dialect, which
// ironic.conf is written in: "#" and ";" begin comment lines, an indented line
// goes on with the value before it, and nothing is quoted. Lines are kept for
// messages, which is why no INI library serves here.
type option struct {
	section, name, value string
	file                 string
	line                 int
}

func (o option) full() string { return o.section + "." + o.name }

// place is where the option stands, for messages.
func (o option) place() string {
	if o.file == "" {
		return fmt.Sprintf("line %d", o.line)
	}
	return fmt.Sprintf("%s: line %d", o.file, o.line)
}

// maxLine bounds a line of the file.
const maxLine = 64 << 10

// parseINI reads all options of a file, in order.
func parseINI(r io.Reader, file string) ([]option, error) {
	var options []option
	section, line := "DEFAULT", 0
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		line++
		raw := scanner.Text()
		text := strings.TrimSpace(raw)
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
		case raw[0] == ' ' || raw[0] == '\t':
			if len(options) == 0 {
				return nil, fmt.Errorf("line %d: continuation of no value", line)
			}
			last := &options[len(options)-1]
			last.value = strings.TrimSpace(last.value + "\n" + text)
		case text[0] == '[':
			if text[len(text)-1] != ']' || len(text) < 3 {
				return nil, fmt.Errorf("line %d: malformed section %q", line, text)
			}
			section = text[1 : len(text)-1]
		default:
			i := strings.IndexAny(text, "=:")
			if i <= 0 {
				return nil, fmt.Errorf("line %d: %q is not of the form name = value", line, text)
			}
			options = append(options, option{section, strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:]), file, line})
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", line+1, err)
	}
	return options, nil
}

// field is a place in a Config that an option sets.
type field struct {
	name  string // "section.name"
	value reflect.Value
}

// fields lists all tagged fields of the struct that config points to, those
// of nested structs included. Several fields may have the same name.
func fields(config any) []field {
	var list []field
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			tag := v.Type().Field(i).Tag.Get("ini")
			switch {
			case tag == "-":
			case tag != "":
				list = append(list, field{tag, v.Field(i)})
			case v.Field(i).Kind() == reflect.Struct:
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(config).Elem())
	return list
}

// apply sets the fields of config from the options; of several with one name
// the last counts. References in their values are resolved. Options that are not
// known, or mean nothing here, are returned as warnings; a bad value is an error
// that names its place.
func apply(config any, options []option) (warnings []string, err error) {
	options, warnings = today(options)
	places, values := settable(config), newExpander(config, options)
	var bad []error
	silent := map[string]bool{} // sections of which it was said that they mean nothing
	for _, o := range options {
		to, ok := places[o.full()]
		if !ok {
			warnings = append(warnings, unknown(o, silent)...)
			continue
		}
		text, err := values.expand(o)
		for _, place := range to {
			if err == nil {
				err = set(place, text)
			}
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: [%s]%s: %w", o.place(), o.section, o.name, err))
		}
	}
	return warnings, errors.Join(bad...)
}

// today gives options their names of today.
func today(options []option) (now []option, warnings []string) {
	for _, o := range options {
		if name, ok := renamed[o.full()]; ok {
			section, key, _ := strings.Cut(name, ".")
			warnings = append(warnings, fmt.Sprintf("%s: [%s]%s is the old name of [%s]%s", o.place(), o.section, o.name, section, key))
			o.section, o.name = section, key
		}
		now = append(now, o)
	}
	return now, warnings
}

// unknown says what is to be said of an option that sets nothing.
func unknown(o option, silent map[string]bool) []string {
	why, said, known := withoutEffect(o)
	switch {
	case !known:
		return []string{fmt.Sprintf("%s: unknown option [%s]%s is ignored", o.place(), o.section, o.name)}
	case !said || silent[o.section+why]:
		return nil
	}
	silent[o.section+why] = true
	return []string{fmt.Sprintf("%s: [%s]%s has no effect: %s", o.place(), o.section, o.name, why)}
}

// set parses text as a value of v's type.
func set(v reflect.Value, text string) error {
	switch v.Interface().(type) {
	case time.Duration:
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || seconds < 0 || seconds > 1e9 {
			return fmt.Errorf("%q is not a number of seconds", text)
		}
		v.SetInt(int64(seconds * float64(time.Second)))
		return nil
	case map[string]string:
		m := map[string]string{}
		for _, pair := range splitList(text) {
			key, value, ok := strings.Cut(pair, ":")
			if !ok {
				return fmt.Errorf("%q is not of the form key:value", pair)
			}
			m[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
		v.Set(reflect.ValueOf(m))
		return nil
	case []string:
		v.Set(reflect.ValueOf(splitList(text)))
		return nil
	case []int:
		var list []int
		for _, item := range splitList(text) {
			n, err := strconv.Atoi(item)
			if err != nil {
				return fmt.Errorf("%q is not a whole number", item)
			}
			list = append(list, n)
		}
		v.Set(reflect.ValueOf(list))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := parseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Pointer:
		if text == "" {
			v.SetZero()
			return nil
		}
		p := reflect.New(v.Type().Elem())
		if err := set(p.Elem(), text); err != nil {
			return err
		}
		v.Set(p)
	default:
		return fmt.Errorf("options of type %s cannot be set", v.Type())
	}
	return nil
}

// parseBool knows oslo.config's words.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "on", "yes":
		return true, nil
	case "false", "0", "off", "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is not a boolean", text)
}

func splitList(text string) []string {
	list := []string{}
	for item := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// WriteINI writes all options of config with their values, by section.
func WriteINI(w io.Writer, config any) error {
	lines := map[string]string{}
	for _, f := range fields(config) {
		lines[f.name] = show(f.value)
	}
	section := ""
	names := make([]string, 0, len(lines))
	for name := range lines {
		names = append(names, name)
	}
	sort.Strings(names)
	// DEFAULT sorts before the lower-case sections already.
	for _, name := range slices.Compact(names) {
		s, key, _ := strings.Cut(name, ".")
		if s != section {
			if _, err := fmt.Fprintf(w, "\n[%s]\n", s); err != nil {
				return err
			}
			section = s
		}
		if _, err := fmt.Fprintf(w, "%s = %s\n", key, lines[name]); err != nil {
			return err
		}
	}
	return nil
}

func show(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return strconv.FormatFloat(x.Seconds(), 'f', -1, 64)
	case []string:
		return strings.Join(x, ",")
	case []int:
		return strings.Trim(strings.ReplaceAll(fmt.Sprint(x), " ", ","), "[]")
	case map[string]string:
		var pairs []string
		for key, value := range x {
			pairs = append(pairs, key+":"+value)
		}
		sort.Strings(pairs)
		return strings.Join(pairs, ",")
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	return fmt.Sprint(v.Interface())
}
