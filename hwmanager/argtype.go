package hwmanager

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// argField is a field of arguments, with what its tags say.
type argField struct {
	name       string
	index      []int // for reflect.Value.FieldByIndex, through embedded structs
	shape      reflect.Type
	doc        string
	required   bool
	def        string
	hasDefault bool
	enum       []string
	min, max   string
}

// argKind is how a type is decoded.
type argKind int

const (
	unknownArg  argKind = iota
	ownArg              // by its UnmarshalJSON
	ownTextArg          // by its UnmarshalText
	anyArg              // as it came
	boolArg             //
	intArg              // signed
	uintArg             //
	floatArg            //
	numberArg           // json.Number
	durationArg         //
	textArg             //
	bytesArg            // base64
	listArg             //
	mapArg              //
	structArg           //
	pointerArg          // to any of these
)

var (
	ownType     = reflect.TypeFor[json.Unmarshaler]()
	ownTextType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// kindOf is the kind of a type; unknownArg if it cannot come over the wire.
func kindOf(t reflect.Type) argKind {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return durationArg
	case reflect.TypeFor[json.Number]():
		return numberArg
	}
	if t.Kind() == reflect.Pointer {
		return pointerArg
	}
	if t.Kind() != reflect.Interface {
		switch {
		case reflect.PointerTo(t).Implements(ownType):
			return ownArg
		case reflect.PointerTo(t).Implements(ownTextType):
			return ownTextArg
		}
	}
	switch t.Kind() {
	case reflect.Bool:
		return boolArg
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intArg
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return uintArg
	case reflect.Float32, reflect.Float64:
		return floatArg
	case reflect.String:
		return textArg
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return anyArg
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return bytesArg
		}
		return listArg
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return mapArg
		}
	case reflect.Struct:
		return structArg
	}
	return unknownArg
}

// fieldsOf are the fields of a struct and of those that are embedded in it, as
// package encoding/json sees them: of one name the outermost.
func fieldsOf(t reflect.Type) ([]argField, error) {
	type level struct {
		shape reflect.Type
		index []int
	}
	var fields []argField
	depth := map[string]int{}
	seen := map[reflect.Type]bool{t: true}
	for next, at := []level{{t, nil}}, 0; len(next) > 0; at++ {
		now := next
		next = nil
		for _, l := range now {
			for i := range l.shape.NumField() {
				f := l.shape.Field(i)
				index := append(append([]int(nil), l.index...), i)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if f.Tag.Get("json") == "-" {
					continue
				}
				if f.Anonymous && name == "" {
					inner := f.Type
					if inner.Kind() == reflect.Pointer {
						inner = inner.Elem()
					}
					if inner.Kind() == reflect.Struct && kindOf(inner) == structArg {
						if inner != f.Type && !f.IsExported() {
							return nil, fmt.Errorf("%s is a pointer to a type that is not exported", f.Name)
						}
						if !seen[inner] {
							seen[inner] = true
							next = append(next, level{inner, index})
						}
						continue
					}
				}
				if !f.IsExported() {
					continue
				}
				if name == "" {
					name = f.Name
				}
				if first, taken := depth[name]; taken {
					if first == at {
						return nil, fmt.Errorf("there are two arguments %s", name)
					}
					continue
				}
				depth[name] = at
				field, err := fieldOf(f, name, index)
				if err != nil {
					return nil, fmt.Errorf("argument %s: %w", name, err)
				}
				fields = append(fields, field)
			}
		}
	}
	return fields, nil
}

func fieldOf(f reflect.StructField, name string, index []int) (argField, error) {
	field := argField{name: name, index: index, shape: f.Type, doc: f.Tag.Get("doc"), min: f.Tag.Get("min"), max: f.Tag.Get("max")}
	field.def, field.hasDefault = f.Tag.Lookup("default")
	if text, given := f.Tag.Lookup("required"); given {
		var err error
		if field.required, err = strconv.ParseBool(text); err != nil {
			return field, fmt.Errorf("the tag required is %q, neither true nor false", text)
		}
	}
	if text, given := f.Tag.Lookup("enum"); given {
		for value := range strings.SplitSeq(text, ",") {
			field.enum = append(field.enum, strings.TrimSpace(value))
		}
	}
	if field.required && field.hasDefault {
		return field, errors.New("it is required and has a default")
	}
	return field, nil
}

// checkArgs tells why a type cannot be that of a step's arguments.
func checkArgs(t reflect.Type) error {
	if t.Kind() != reflect.Struct || kindOf(t) != structArg {
		return fmt.Errorf("arguments of the type %s: it must be a struct", t)
	}
	if err := checkType(t, map[reflect.Type]bool{}); err != nil {
		return fmt.Errorf("arguments of the type %s: %w", t, err)
	}
	return nil
}

func checkType(t reflect.Type, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	switch kindOf(t) {
	case unknownArg:
		return fmt.Errorf("no argument can be a %s", t)
	case pointerArg, listArg, mapArg:
		return checkType(t.Elem(), seen)
	case structArg:
		fields, err := fieldsOf(t)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if err := checkType(f.shape, seen); err != nil {
				return fmt.Errorf("argument %s: %w", f.name, err)
			}
			if err := f.check(); err != nil {
				return fmt.Errorf("argument %s: %w", f.name, err)
			}
		}
	}
	return nil
}

// check tells which tag of the field does not go with its type.
func (f argField) check() error {
	target := pointed(f.shape)
	for _, bound := range []struct{ tag, text string }{{"min", f.min}, {"max", f.max}} {
		if bound.text == "" {
			continue
		}
		if _, err := parseBound(target, bound.text); err != nil {
			return fmt.Errorf("the tag %s: %w", bound.tag, err)
		}
	}
	element := target
	if kindOf(target) == listArg {
		element = pointed(target.Elem())
	}
	for _, text := range f.enum {
		switch kindOf(element) {
		case boolArg, intArg, uintArg, floatArg, textArg, ownTextArg, durationArg:
		default:
			return fmt.Errorf("a %s cannot have the tag enum", f.shape)
		}
		d := decoder{}
		d.value(f.name, fromTag(element, text), reflect.New(element).Elem(), argField{}, 0)
		if len(d.faults) > 0 {
			return fmt.Errorf("the tag enum: %s", strings.Join(d.faults, "; "))
		}
	}
	if f.hasDefault {
		d := decoder{}
		d.value(f.name, fromTag(f.shape, f.def), reflect.New(f.shape).Elem(), f, 0)
		if len(d.faults) > 0 {
			return fmt.Errorf("the tag default: %s", strings.Join(d.faults, "; "))
		}
	}
	return nil
}

// pointed is the type without pointers.
func pointed(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// fromTag is what a default says, as if it had come over the wire.
func fromTag(t reflect.Type, text string) any {
	t = pointed(t)
	switch kindOf(t) {
	case textArg, ownTextArg, durationArg, bytesArg:
		return text
	case listArg:
		if strings.HasPrefix(strings.TrimSpace(text), "[") {
			break
		}
		list := []any{}
		if text != "" {
			for item := range strings.SplitSeq(text, ",") {
				list = append(list, fromTag(t.Elem(), strings.TrimSpace(item)))
			}
		}
		return list
	}
	var value any
	if decodeNumbers([]byte(text), &value) != nil {
		return text // which the decoder refuses unless it fits
	}
	return value
}

// parseBound is a min or max for a type.
func parseBound(t reflect.Type, text string) (float64, error) {
	switch kindOf(t) {
	case durationArg:
		d, err := time.ParseDuration(text)
		return float64(d), err
	case intArg, uintArg, floatArg, numberArg, textArg, listArg, mapArg, bytesArg:
		return strconv.ParseFloat(text, 64)
	}
	return 0, fmt.Errorf("a %s has no bounds", t)
}
