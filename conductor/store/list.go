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
	items := []T{}
	var err error
	switch v := src.(type) {
	case nil:
	case string:
		err = json.Unmarshal([]byte(v), &items)
	case []byte:
		err = json.Unmarshal(v, &items)
	default:
		err = fmt.Errorf("scan list from %T", src)
	}
	*l = items
	return err
}

// Strings is a JSON list of texts in a column.
type Strings = List[string]
