package source

import (
	"fmt"
	"time"
)

// leastProgress is what a server has to send in Retry.Slow, and what makes up
// for failures before: 1 MiB in five minutes is 28 kbit/s, a tenth of the
// slowest line that one would deploy a machine over. Less is a server that keeps
// the transfer alive without ever ending it.
const leastProgress = 1 << 20

// pace watches the progress of a file over all connections.
type pace struct {
	slow   time.Duration
	bytes  int64         // since leastProgress was last reached
	waited time.Duration // for these, not counting what the reader took
	gained int64         // bytes had for the first time, since tries was last reset
	tries  int           // without leastProgress of these
}

// gain takes in n bytes that were not had before.
func (p *pace) gain(n int) {
	if p.gained += int64(n); p.gained >= leastProgress {
		p.gained, p.tries = 0, 0
	}
}

// count takes in n bytes that took a wait for the server of d. It fails when
// they come too slowly; another connection would not be given more time.
func (p *pace) count(n int, d time.Duration) error {
	p.bytes += int64(n)
	p.waited += d
	if p.bytes >= leastProgress {
		p.bytes, p.waited = 0, 0
		return nil
	}
	if p.waited > p.slow {
		return fmt.Errorf("%w: too slow: %d bytes in %s, at least %d are expected", ErrDownload, p.bytes, p.waited.Round(time.Millisecond), leastProgress)
	}
	return nil
}
