package ipmi

import "fmt"

// masked is what stands in place of a secret wherever it is printed, as Ironic shows passwords.
const masked = "******"

// Secret is a password or key. However it is formatted, logged or marshalled, it prints as ******; only a
// conversion to string gives its value.
type Secret string

func (Secret) String() string               { return masked }
func (Secret) GoString() string             { return masked }
func (Secret) Format(s fmt.State, _ rune)   { fmt.Fprint(s, masked) }
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }
