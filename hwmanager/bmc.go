package hwmanager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/u-root/u-root/pkg/ipmi"
)

// ErrNoBMC: there is nobody to ask in-band (no /dev/ipmi0).
var ErrNoBMC = errors.New("this machine has no BMC that the kernel knows of")

// BMCError is an answer of the BMC that is not a success.
type BMCError struct {
	NetFn, Command byte
	Completion     byte // IPMI 2.0, table 5-2
}

// Error implements error.
func (e *BMCError) Error() string {
	return fmt.Sprintf("the BMC answered request 0x%02x 0x%02x with completion code 0x%02x: %v", e.NetFn, e.Command, e.Completion, ipmi.CompletionCode(e.Completion))
}

// bmcTime is how long a BMC may take for an answer.
const bmcTime = 10 * time.Second

// maxRequest bounds the data of a request, in bytes: no interface to a BMC takes more.
const maxRequest = 255

// BMC sends a raw IPMI request to the machine's own BMC and returns the data
// that follow the completion code; any other than 0 is a *BMCError. One that
// does not answer in 10 s, or until the context ends, is given up.
//
//	id, err := h.BMC(ctx, 0x06, 0x01, nil) // Get Device ID
func (h *Host) BMC(ctx context.Context, netfn, command byte, data []byte) ([]byte, error) {
	if len(data) > maxRequest {
		return nil, fmt.Errorf("request 0x%02x 0x%02x to the BMC has %d bytes, more than %d", netfn, command, len(data), maxRequest)
	}
	device, err := ipmi.OpenPath(filepath.Join(h.Dev, "ipmi0"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoBMC
	}
	if err != nil {
		return nil, fmt.Errorf("open IPMI device: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bmcTime, fmt.Errorf("no answer within %s: %w", bmcTime, os.ErrDeadlineExceeded))
	defer cancel()
	type answer struct {
		data []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		defer device.Close()
		data, err := device.RawCmd(append([]byte{netfn, command}, data...))
		done <- answer{data, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		return nil, fmt.Errorf("request 0x%02x 0x%02x to the BMC: %w", netfn, command, context.Cause(ctx))
	}
	var completion ipmi.CompletionError
	switch {
	case errors.As(a.err, &completion):
		return nil, &BMCError{netfn, command, byte(completion)}
	case a.err != nil:
		return nil, fmt.Errorf("request 0x%02x 0x%02x to the BMC: %w", netfn, command, a.err)
	case len(a.data) == 0:
		return nil, fmt.Errorf("request 0x%02x 0x%02x to the BMC: the answer is empty", netfn, command)
	}
	return a.data[1:], nil
}
