package hwmanager

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNesting bounds how deep arguments may be nested: no step needs more, and a
// type may hold itself.
const maxNesting = 64

// decoder decodes arguments and collects what is wrong with them.
type decoder struct {
	faults []string
	more   int // faults beyond these
	types  map[reflect.Type][]argField
}

// fields are those of a type that checkArgs has found to be right.
func (d *decoder) fields(t reflect.Type) []argField {
	fields, known := d.types[t]
	if !known {
		fields, _ = fieldsOf(t)
		if d.types == nil {
			d.types = map[reflect.Type][]argField{}
		}
		d.types[t] = fields
	}
	return fields
}

func (d *decoder) fail(path, format string, args ...any) {
	if len(d.faults) == maxFaults {
		d.more++
		return
	}
	text := fmt.Sprintf(format, args...)
	if path != "" {
		const most = 256
		if len(path) > most {
			path = "…" + strings.ToValidUTF8(path[len(path)-most:], "?")
		}
		text = path + " " + text
	}
	d.faults = append(d.faults, text)
}

// failed tells whether there is a fault more than before.
func (d *decoder) failed(before int) bool { return len(d.faults)+d.more > before }

// structure decodes an object into a struct. Absent fields take their defaults.
func (d *decoder) structure(path string, object map[string]any, into reflect.Value, depth int) {
	before := len(d.faults) + d.more
	fields := d.fields(into.Type())
	known := make(map[string]bool, len(fields))
	for _, f := range fields {
		known[f.name] = true
		value := object[f.name]
		if value == nil && !f.hasDefault && !f.required && kindOf(f.shape) != structArg {
			continue
		}
		target := reach(into, f.index)
		switch {
		case value != nil:
			d.value(join(path, f.name), value, target, f, depth+1)
		case f.required:
			d.fail(join(path, f.name), "is missing")
		case f.hasDefault:
			d.value(join(path, f.name), fromTag(f.shape, f.def), target, f, depth+1)
		default:
			d.defaults(target)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !known[name] {
			d.fail(join(path, clip(name)), "is unknown%s", knownNames(fields))
		}
	}
	if !d.failed(before) {
		d.validate(path, into)
	}
}

// defaults gives a struct that is absent those of its fields.
func (d *decoder) defaults(into reflect.Value) {
	for _, f := range d.fields(into.Type()) {
		switch {
		case f.hasDefault:
			d.value(f.name, fromTag(f.shape, f.def), reach(into, f.index), f, 0)
		case kindOf(f.shape) == structArg:
			d.defaults(reach(into, f.index))
		}
	}
}

func knownNames(fields []argField) string {
	if len(fields) == 0 {
		return ": there are no arguments"
	}
	const shown = 24
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
	}
	if len(names) > shown {
		names = append(names[:shown], "…")
	}
	return " (known are " + strings.Join(names, ", ") + ")"
}

// reach is the field of a struct; embedded pointers on the way are allocated.
func reach(v reflect.Value, index []int) reflect.Value {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}

// value decodes one value. The rules are those of the field that it is of.
func (d *decoder) value(path string, value any, into reflect.Value, rules argField, depth int) {
	if depth > maxNesting {
		d.fail(path, "is nested more than %d deep", maxNesting)
		return
	}
	before := len(d.faults) + d.more
	value = plain(value)
	kind := kindOf(into.Type())
	switch kind {
	case pointerArg:
		if value == nil {
			return
		}
		target := reflect.New(into.Type().Elem())
		d.value(path, value, target.Elem(), rules, depth+1)
		into.Set(target)
		return
	case anyArg:
		if value != nil {
			into.Set(reflect.ValueOf(value))
		}
		return
	case ownArg:
		d.own(path, value, into)
	case structArg:
		object, ok := value.(map[string]any)
		if !ok {
			d.wrong(path, "an object", value)
			return
		}
		d.structure(path, object, into, depth)
		return
	case listArg:
		d.list(path, value, into, rules, depth)
	case mapArg:
		d.mapping(path, value, into, depth)
	case boolArg:
		b, ok := value.(bool)
		if !ok {
			d.wrong(path, "a boolean", value)
			return
		}
		into.SetBool(b)
	case intArg, uintArg, floatArg, numberArg:
		d.number(path, value, into, kind)
	case durationArg:
		d.duration(path, value, into)
	default:
		d.text(path, value, into, kind)
	}
	if d.failed(before) {
		return
	}
	d.rules(path, value, into, rules, kind)
	if !d.failed(before) {
		d.validate(path, into)
	}
}

func (d *decoder) list(path string, value any, into reflect.Value, rules argField, depth int) {
	items, ok := value.([]any)
	if !ok {
		d.wrong(path, "a list", value)
		return
	}
	list := reflect.MakeSlice(into.Type(), len(items), len(items))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item == nil && kindOf(into.Type().Elem()) != pointerArg && kindOf(into.Type().Elem()) != anyArg {
			d.fail(at, "must not be null")
			continue
		}
		d.value(at, item, list.Index(i), argField{enum: rules.enum}, depth+1)
	}
	into.Set(list)
}

func (d *decoder) mapping(path string, value any, into reflect.Value, depth int) {
	object, ok := value.(map[string]any)
	if !ok {
		d.wrong(path, "an object", value)
		return
	}
	mapping := reflect.MakeMapWithSize(into.Type(), len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		element := reflect.New(into.Type().Elem()).Elem()
		at := join(path, clip(key))
		if object[key] == nil && kindOf(element.Type()) != pointerArg && kindOf(element.Type()) != anyArg {
			d.fail(at, "must not be null")
			continue
		}
		d.value(at, object[key], element, argField{}, depth+1)
		mapping.SetMapIndex(reflect.ValueOf(key).Convert(into.Type().Key()), element)
	}
	into.Set(mapping)
}

// own lets a type decode itself.
func (d *decoder) own(path string, value any, into reflect.Value) {
	encoded, err := json.Marshal(value)
	if err != nil {
		d.fail(path, "cannot be read: %s", oneLine(err))
		return
	}
	able := into.Addr().Interface().(json.Unmarshaler)
	if err := recovered(func() error { return able.UnmarshalJSON(encoded) }); err != nil {
		d.fail(path, "is wrong: %s", oneLine(err))
	}
}

// rules checks what the tags of a field say of its value.
func (d *decoder) rules(path string, value any, into reflect.Value, rules argField, kind argKind) {
	if len(rules.enum) > 0 && kind != listArg && !slices.ContainsFunc(rules.enum, func(text string) bool { return sameAs(into, text) }) {
		d.fail(path, "must be one of %s, not %s", strings.Join(rules.enum, ", "), clip(fmt.Sprint(value)))
	}
	have, what := 0.0, ""
	switch kind {
	case intArg:
		have = float64(into.Int())
	case uintArg:
		have = float64(into.Uint())
	case floatArg:
		have = into.Float()
	case numberArg:
		have, _ = strconv.ParseFloat(into.String(), 64)
	case durationArg:
		have = float64(into.Int())
	case textArg:
		have, what = float64(utf8.RuneCountInString(into.String())), " characters"
	case listArg, mapArg:
		have, what = float64(into.Len()), " elements"
	case bytesArg:
		have, what = float64(into.Len()), " bytes"
	}
	if least, err := parseBound(into.Type(), rules.min); rules.min != "" && err == nil && have < least {
		d.fail(path, "must be at least %s%s", rules.min, what)
	}
	if most, err := parseBound(into.Type(), rules.max); rules.max != "" && err == nil && have > most {
		d.fail(path, "must be at most %s%s", rules.max, what)
	}
}

// validate asks the value itself, if it can tell.
func (d *decoder) validate(path string, value reflect.Value) {
	able, ok := value.Addr().Interface().(interface{ Validate() error })
	if !ok {
		return
	}
	if err := recovered(able.Validate); err != nil {
		if path == "" {
			d.fail("", "%s", oneLine(err))
			return
		}
		d.fail(path+":", "%s", oneLine(err))
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// clip bounds text of the caller in an error.
func clip(text string) string {
	const most = 64
	if utf8.RuneCountInString(text) <= most {
		return strings.ToValidUTF8(text, "?")
	}
	return strings.ToValidUTF8(string([]rune(text)[:most]), "?") + "…"
}

func oneLine(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}
