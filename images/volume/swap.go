package volume

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// swapPage is the page size that swap space is made for; every machine that
// this runs on has it.
const swapPage = 4096

// MakeSwap makes the size bytes of w swap space with a label of at most 16
// bytes and a new UUID, which it returns. (linux, include/linux/swap.h: union
// swap_header)
func MakeSwap(w io.WriterAt, size int64, label string) (string, error) {
	pages := size / swapPage
	if pages < 10 || pages > 1<<32 || len(label) > 16 {
		return "", fmt.Errorf("swap space of %d bytes labelled %q is not possible", size, label)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("identity of swap space: %w", err)
	}
	header := make([]byte, swapPage)
	le := binary.LittleEndian
	le.PutUint32(header[1024:], 1)               // version
	le.PutUint32(header[1028:], uint32(pages-1)) // last page
	copy(header[1036:], id[:])
	copy(header[1052:], label)
	copy(header[swapPage-10:], "SWAPSPACE2")
	if _, err := w.WriteAt(header, 0); err != nil {
		return "", fmt.Errorf("make swap space: %w", err)
	}
	return id.String(), nil
}
