package generic

import (
	"sync"
	"sync/atomic"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// meterInterval is how often a meter reports.
const meterInterval = time.Second

// meter reports how far a step is that writes a known number of bytes, once a
// second until it is stopped.
type meter struct {
	phase   string
	total   int64
	done    atomic.Int64
	written atomic.Int64
	report  func(ipa.Progress)
	began   time.Time
	stopCh  chan struct{}
	gone    chan struct{}
}

func startMeter(phase string, total int64, report func(ipa.Progress)) *meter {
	m := &meter{phase: phase, total: total, report: report, began: time.Now(), stopCh: make(chan struct{}), gone: make(chan struct{})}
	go m.run()
	return m
}

func (m *meter) run() {
	defer close(m.gone)
	ticker := time.NewTicker(meterInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.report(m.now())
		case <-m.stopCh:
			return
		}
	}
}

// share takes reports of one of several devices, whose work counts as weight
// bytes of the total, whatever it consists in. Fractions of a new attempt may
// begin at 0 again.
func (m *meter) share(weight int64) func(hwmanager.EraseProgress) {
	var mu sync.Mutex
	var done, written int64
	return func(p hwmanager.EraseProgress) {
		mu.Lock()
		defer mu.Unlock()
		now := int64(float64(weight) * min(max(p.Fraction, 0), 1))
		m.done.Add(now - done)
		m.written.Add(p.Written - written)
		done, written = now, p.Written
	}
}

// stop ends the reports; when it returns there are no more.
func (m *meter) stop() {
	close(m.stopCh)
	<-m.gone
}

func (m *meter) now() ipa.Progress {
	done := m.done.Load()
	p := ipa.Progress{Phase: m.phase, Done: done, Total: m.total, Written: m.written.Load(), SecondsLeft: -1}
	if elapsed := time.Since(m.began).Seconds(); done > 0 && elapsed > 0 {
		p.BytesPerSec = float64(done) / elapsed
		p.SecondsLeft = max(0, float64(m.total-done)/p.BytesPerSec)
	}
	return p
}
