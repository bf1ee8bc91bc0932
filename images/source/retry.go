// Package source reads a file from an HTTP server to its end, whatever the
// connection does on the way: it reconnects and resumes, and notices when the
// file is no longer the one that it began to read.
package source

import (
	"errors"
	"time"
)

var (
	// ErrDownload: no URL could be read.
	ErrDownload = errors.New("download failed")
	// ErrTruncated: the server stopped before the length that it declared.
	ErrTruncated = errors.New("truncated download")
	// ErrChanged: the file is not the one that it was at the first request.
	ErrChanged = errors.New("file changed on the server")
	// ErrNoRange: the server does not serve parts of the file.
	ErrNoRange = errors.New("server does not support Range requests")
)

// Retry says how patient a source is.
type Retry struct {
	Retries  int           // further tries without a MiB of progress; 0 is 9, negative none
	Interval time.Duration // between tries; 0 is 10 s
	Idle     time.Duration // longest wait for an answer or for the next byte; 0 is 60 s
	Slow     time.Duration // longest wait for a MiB, however it drips; 0 is 5 min
}

// withDefaults fills in the values of the agent contract (sections "Retries"
// and "Configuration": image_download_connection_*).
func (r Retry) withDefaults() Retry {
	if r.Retries == 0 {
		r.Retries = 9
	}
	if r.Interval == 0 {
		r.Interval = 10 * time.Second
	}
	if r.Idle == 0 {
		r.Idle = 60 * time.Second
	}
	if r.Slow == 0 {
		r.Slow = 5 * time.Minute
	}
	return r
}
