package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
)

// Object is a JSON object in a column. It is never nil after a read.
type Object map[string]any

// Value implements driver.Valuer.
func (o Object) Value() (driver.Value, error) {
	if o == nil {
		return "{}", nil
	}
	b, err := json.Marshal(o)
	return string(b), err
}

// Scan implements sql.Scanner.
func (o *Object) Scan(src any) error {
	var b []byte
	switch v := src.(type) {
	case nil:
	case string:
		b = []byte(v)
	case []byte:
		b = v
	default:
		return fmt.Errorf("scan object from %T", src)
	}
	*o = Object{}
	if len(b) == 0 || string(b) == "{}" { // as most are
		return nil
	}
	return json.Unmarshal(b, o)
}

// String returns the text at key, or "".
func (o Object) String(key string) string {
	s, _ := o[key].(string)
	return s
}

// Bool returns the boolean at key; anything else is false.
func (o Object) Bool(key string) bool {
	b, _ := o[key].(bool)
	return b
}

// Clone returns a copy that shares nothing with o.
func (o Object) Clone() Object {
	b, err := json.Marshal(o)
	if err != nil { // values come from JSON, so this cannot happen
		panic(fmt.Sprintf("clone object: %v", err))
	}
	c := Object{}
	if err := json.Unmarshal(b, &c); err != nil {
		panic(fmt.Sprintf("clone object: %v", err))
	}
	return c
}

// Decode puts the value at key into v, by way of JSON.
func (o Object) Decode(key string, v any) error {
	b, err := json.Marshal(o[key])
	if err != nil {
		return fmt.Errorf("decode %s: %w", key, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %s: %w", key, err)
	}
	return nil
}

// Encode puts v at key as the plain JSON value that it stands for, so that the
// object looks the same before and after a trip to the database.
func (o Object) Encode(key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	var plain any
	if err := json.Unmarshal(b, &plain); err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	o[key] = plain
	return nil
}
