package restapi

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// The kinds of columns that the tables of fields are made of.

// computed is a field that only the conductor writes.
func computed[T any](get func(row *T) any) column[T] {
	return column[T]{get: get, set: func(*T, any) error { return fmt.Errorf("is read only") }}
}

// optionalText is a nullable string of at most limit characters.
func optionalText[T any](at func(row *T) **string, limit int) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) error {
			if v == nil {
				*at(row) = nil
				return nil
			}
			text, err := textValue(v, limit)
			*at(row) = &text
			return err
		},
	}
}

func textValue(v any, limit int) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("a string is expected")
	}
	if utf8.RuneCountInString(s) > limit {
		return "", fmt.Errorf("longer than %d characters", limit)
	}
	return s, nil
}

// requiredText is a text that a row cannot be without.
func requiredText[T any](at func(row *T) *string) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) (err error) {
			*at(row), err = textValue(v, 255)
			return err
		},
	}
}

// requiredUUID is a UUID that a row cannot be without.
func requiredUUID[T any](at func(row *T) *string) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) error {
			s, _ := v.(string)
			id, ok := parseUUID(s)
			if !ok {
				return fmt.Errorf("expected a UUID but received %v", v)
			}
			*at(row) = id
			return nil
		},
	}
}

// optionalUUID is a nullable UUID.
func optionalUUID[T any](at func(row *T) **string) column[T] {
	c := optionalText(at, 64)
	plain := c.set
	c.set = func(row *T, v any) error {
		if s, ok := v.(string); ok {
			id, ok := parseUUID(s)
			if !ok {
				return fmt.Errorf("expected a UUID but received %s", s)
			}
			v = id
		}
		return plain(row, v)
	}
	return c
}

// flag is a boolean with a default.
func flag[T any](at func(row *T) *bool, fallback bool) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) (err error) {
			*at(row) = fallback
			if v != nil {
				*at(row), err = boolValue(v)
			}
			return err
		},
	}
}

// optionalFlag is a nullable boolean.
func optionalFlag[T any](at func(row *T) **bool) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) error {
			*at(row) = nil
			if v == nil {
				return nil
			}
			b, err := boolValue(v)
			if err == nil {
				*at(row) = &b
			}
			return err
		},
	}
}

func boolValue(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string: // what clients with untyped command lines send
		if b, ok := parseBool(v); ok {
			return b, nil
		}
	}
	return false, fmt.Errorf("a boolean is expected")
}

// object is a JSON object, {} by default. check may be nil.
func object[T any](at func(row *T) *store.Object, check func(store.Object) error) column[T] {
	return column[T]{
		get: func(row *T) any {
			if o := *at(row); o != nil {
				return map[string]any(o)
			}
			return map[string]any{}
		},
		set: func(row *T, v any) error {
			if v == nil {
				*at(row) = store.Object{}
				return nil
			}
			o, ok := v.(map[string]any)
			if !ok {
				return fmt.Errorf("an object is expected")
			}
			*at(row) = o
			if check != nil {
				return check(o)
			}
			return nil
		},
	}
}

// moment is a nullable time.
func moment(t *time.Time) any {
	if t == nil {
		return (*ironic.Time)(nil)
	}
	return &ironic.Time{Time: *t}
}

// nonNegative accepts what clients send as a whole number: a number or its text.
func nonNegative(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case float64:
		return v >= 0 && v == math.Trunc(v)
	case string:
		return v != "" && strings.Trim(v, "0123456789") == ""
	}
	return false
}

// optionalName is a nullable logical name.
func optionalName[T any](at func(row *T) **string) column[T] {
	c := optionalText(at, 255)
	plain := c.set
	c.set = func(row *T, v any) error {
		if s, ok := v.(string); ok && !logicalName.MatchString(s) {
			return fmt.Errorf("%q is not a valid name", s)
		}
		return plain(row, v)
	}
	return c
}

// traitList is a list of names of traits.
func traitList[T any](at func(row *T) *store.Strings) column[T] {
	return column[T]{
		get: func(row *T) any { return orNone(*at(row)) },
		set: func(row *T, v any) error {
			names, err := textList(v)
			for _, name := range names {
				if err == nil {
					err = checkTrait(name)
				}
			}
			*at(row) = names
			return err
		},
	}
}

// orNone makes an empty list of none, which is null in JSON.
func orNone(l store.Strings) store.Strings {
	if l == nil {
		return store.Strings{}
	}
	return l
}

// textList reads a JSON list of strings; null is empty.
func textList(v any) (store.Strings, error) {
	if v == nil {
		return store.Strings{}, nil
	}
	items, ok := v.([]any)
	texts := store.Strings{}
	for _, item := range items {
		text, isText := item.(string)
		ok = ok && isText
		texts = append(texts, text)
	}
	if !ok {
		return nil, errors.New("a list of strings is expected")
	}
	return texts, nil
}
