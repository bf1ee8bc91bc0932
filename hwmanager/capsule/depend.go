package capsule

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Operators of a dependency expression (section 23.2, "Dependency Expression
// Instruction Set").
const (
	depPushGUID    = 0x00
	depPushVersion = 0x01
	depName        = 0x02
	depAnd         = 0x03
	depOr          = 0x04
	depNot         = 0x05
	depTrue        = 0x06
	depFalse       = 0x07
	depEqual       = 0x08
	depGreater     = 0x09
	depGreaterSame = 0x0a
	depLess        = 0x0b
	depLessSame    = 0x0c
	depEnd         = 0x0d
	depLength      = 0x0e
)

var errDependency = errors.New("its dependency expression is damaged")

// operand is the size of what follows the operator in b.
func operand(b []byte) (int, error) {
	n := 0
	switch op := b[0]; {
	case op == depPushGUID:
		n = 16
	case op == depPushVersion, op == depLength:
		n = 4
	case op == depName:
		end := bytes.IndexByte(b[1:], 0)
		if end < 0 {
			return 0, errDependency
		}
		n = end + 1
	case op > depLength:
		return 0, fmt.Errorf("%w: operator %#02x", errDependency, op)
	}
	if n > len(b)-1 {
		return 0, errDependency
	}
	return n, nil
}

// dependencyLength is the size of the expression that b begins with, its end
// included.
func dependencyLength(b []byte) (int, error) {
	for at := 0; at < len(b); {
		n, err := operand(b[at:])
		if err != nil {
			return 0, err
		}
		op := b[at]
		if op == depLength && at != 0 {
			return 0, fmt.Errorf("%w: a length within it", errDependency)
		}
		at += 1 + n
		if op == depEnd {
			if b[0] == depLength && int(binary.LittleEndian.Uint32(b[1:])) != at {
				return 0, fmt.Errorf("%w: it has %d bytes and not those it tells of", errDependency, at)
			}
			return at, nil
		}
	}
	return 0, fmt.Errorf("%w: it has no end", errDependency)
}

// Satisfied evaluates a dependency expression with the versions of what the
// machine has. One that names what it does not have is not satisfied.
func Satisfied(expression []byte, versions map[GUID]uint32) (bool, error) {
	type value struct {
		number  uint32
		boolean bool
		logical bool
	}
	var stack []value
	pop := func(logical bool) (value, error) {
		if len(stack) == 0 || stack[len(stack)-1].logical != logical {
			return value{}, errDependency
		}
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		return top, nil
	}
	for b := expression; len(b) > 0; {
		n, err := operand(b)
		if err != nil {
			return false, err
		}
		op, data := b[0], b[1:1+n]
		b = b[1+n:]
		switch op {
		case depPushGUID:
			version, has := versions[GUID(data)]
			if !has {
				return false, nil
			}
			stack = append(stack, value{number: version})
		case depPushVersion:
			stack = append(stack, value{number: binary.LittleEndian.Uint32(data)})
		case depTrue, depFalse:
			stack = append(stack, value{boolean: op == depTrue, logical: true})
		case depName, depLength:
		case depEnd:
			result, err := pop(true)
			return result.boolean, err
		case depNot:
			a, err := pop(true)
			if err != nil {
				return false, err
			}
			stack = append(stack, value{boolean: !a.boolean, logical: true})
		default:
			logical := op == depAnd || op == depOr
			// The one that was pushed last stands on the left.
			a, errA := pop(logical)
			b, errB := pop(logical)
			if err := errors.Join(errA, errB); err != nil {
				return false, errDependency
			}
			var result bool
			switch op {
			case depAnd:
				result = a.boolean && b.boolean
			case depOr:
				result = a.boolean || b.boolean
			case depEqual:
				result = a.number == b.number
			case depGreater:
				result = a.number > b.number
			case depGreaterSame:
				result = a.number >= b.number
			case depLess:
				result = a.number < b.number
			case depLessSame:
				result = a.number <= b.number
			}
			stack = append(stack, value{boolean: result, logical: true})
		}
		if len(stack) > maxDependency {
			return false, errDependency
		}
	}
	return false, errDependency
}
