package hwmanager

import (
	"fmt"
	"runtime/debug"
)

// panicError is a panic in the code of a manager: an error of this manager, and
// nothing to end the agent for.
type panicError struct {
	text  string
	stack []byte
}

func (e *panicError) Error() string { return "panic: " + e.text }

// recovered is what f returns, or its panic.
func recovered(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			const most = 1 << 10
			text := fmt.Sprint(value)
			err = &panicError{text[:min(len(text), most)], debug.Stack()}
		}
	}()
	return f()
}
