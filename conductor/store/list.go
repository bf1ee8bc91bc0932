package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
)

// List is a JSON list in a column. It is never nil after a read.
type List[T any] []T

// Value implements driver.Valuer.
func (l List[T]) Value() (driver.Value, error) {
	if l == nil {
		return "[]", nil
	}
	b, err := json.Marshal([]T(l))
	return string(b), err
}

// Scan implements sql.Scanner.
func (l *List[T]) Scan(src any) error {
	var b []byte
	switch v := src.(type) {
	case nil:
	case string:
		b = []byte(v)
	case []byte:
		b = v
	default:
		return fmt.Errorf("scan list from %T", src)
	}
	items := []T{}
	*l = items
	if len(b) == 0 || string(b) == "[]" { // as most are
		return nil
	}
	err := json.Unmarshal(b, &items)
	*l = items
	return err
}

// Strings is a JSON list of texts in a column.
type Strings = List[string]
