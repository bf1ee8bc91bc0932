package netboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// TFTP operations (RFC 1350, RFC 2347).
const (
	opRead       = 1
	opWrite      = 2
	opData       = 3
	opAck        = 4
	opError      = 5
	opOptionsAck = 6
)

// Bounds of the negotiated values. Larger blocks than an Ethernet frame holds would
// be fragmented, which some firmware cannot put together.
const (
	defaultBlock = 512
	minBlock     = 8
	maxBlock     = 1468
	maxWindow    = 64
)

var (
	errNotRequest    = errors.New("not a TFTP request")
	errClientStopped = errors.New("the client ended the transfer")
	errReadOnly      = errors.New("this server takes no files")
	errMode          = errors.New("only the modes octet and netascii are served")
	errTooMuchText   = errors.New("a file of this size is served in octet mode only")
	errShort         = errors.New("the file has become shorter")
	errRequest       = errors.New("malformed TFTP request")
)

// tftpRequest is a read request with its options, brought into bounds.
type tftpRequest struct {
	name      string
	text      bool // in netascii mode
	blockSize int
	window    int
	timeout   time.Duration
	rollover  int64        // the number of the block after 65535: 0, or 1 if the client asks for that
	options   []tftpOption // to acknowledge, in the client's order
}

type tftpOption struct{ name, value string }

// parseTFTP reads a request. errNotRequest is for packets that must not be answered.
func parseTFTP(packet []byte) (tftpRequest, error) {
	if len(packet) < 2 {
		return tftpRequest{}, errNotRequest
	}
	switch binary.BigEndian.Uint16(packet) {
	case opRead:
	case opWrite:
		return tftpRequest{}, errReadOnly
	default:
		return tftpRequest{}, errNotRequest
	}
	fields := bytes.Split(packet[2:], []byte{0})
	// Every field ends with a NUL, so the last part is empty.
	if len(fields) < 3 || len(fields[len(fields)-1]) != 0 || len(fields[0]) == 0 {
		return tftpRequest{}, errRequest
	}
	fields = fields[:len(fields)-1]
	// PXE ROMs that take option 67 to its end append its terminator, 0xff.
	req := tftpRequest{
		name:      strings.TrimRight(string(fields[0]), "\xff"),
		blockSize: defaultBlock, window: 1, timeout: time.Second,
	}
	switch strings.ToLower(string(fields[1])) {
	case "octet":
	case "netascii":
		req.text = true
	default:
		return req, errMode
	}
	for i := 2; i+1 < len(fields); i += 2 {
		req.setOption(strings.ToLower(string(fields[i])), string(fields[i+1]))
	}
	return req, nil
}

// number is a block's on the wire, where it has 16 bits. Block 0 is the option acknowledgement.
func (r *tftpRequest) number(block int64) uint16 {
	if r.rollover == 1 && block > 0 {
		return uint16((block-1)%0xffff + 1)
	}
	return uint16(block)
}

// String is the request for people.
func (r *tftpRequest) String() string {
	text := r.name
	for _, o := range r.options {
		text += ", " + o.name + " " + o.value
	}
	return text
}

// setOption takes an option over; one that is unknown, senseless or repeated is
// left out of the acknowledgement, which declines it.
func (r *tftpRequest) setOption(name, value string) {
	for _, o := range r.options {
		if o.name == name {
			return
		}
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return
	}
	switch {
	case name == "blksize" && n >= minBlock:
		r.blockSize = int(min(n, maxBlock))
		value = strconv.Itoa(r.blockSize)
	case name == "windowsize" && n >= 1:
		r.window = int(min(n, maxWindow))
		value = strconv.Itoa(r.window)
	case name == "timeout" && n >= 1 && n <= 30:
		r.timeout = time.Duration(n) * time.Second
	case name == "rollover" && n <= 1:
		r.rollover = int64(n)
	case name == "tsize":
	default:
		return
	}
	r.options = append(r.options, tftpOption{name, value})
}

// accepted returns the option acknowledgement, or nil if the client asked for nothing.
func (r *tftpRequest) accepted(size int64) []byte {
	if len(r.options) == 0 {
		return nil
	}
	packet := []byte{0, opOptionsAck}
	for _, o := range r.options {
		value := o.value
		if o.name == "tsize" {
			value = strconv.FormatInt(size, 10)
		}
		packet = fmt.Appendf(packet, "%s\x00%s\x00", o.name, value)
	}
	return packet
}

// tftpError makes an error packet that tells no more than the client may know.
func tftpError(err error) []byte {
	code, text := uint16(0), err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code, text = 1, "file not found"
	case errors.Is(err, errReadOnly):
		code = 2
	case errors.Is(err, errRequest), errors.Is(err, errMode), errors.Is(err, errTooMuchText):
		code = 4
	default:
		text = "the file cannot be read"
	}
	packet := binary.BigEndian.AppendUint16([]byte{0, opError}, code)
	return append(append(packet, text...), 0)
}
