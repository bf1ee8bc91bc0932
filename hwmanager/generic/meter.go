package generic

import (
	"sync/atomic"
	"time"

	"ferric/api/ipa"
)

// meterInterval is how often a meter reports.
const meterInterval = time.Second

// meter reports how far a step is that writes a known number of bytes, once a
// second until it is stopped.
type meter struct {
	phase  string
	total  int64
	done   atomic.Int64
	report func(ipa.Progress)
	began  time.Time
	stopCh chan struct{}
	gone   chan struct{}
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

// add counts bytes that were written.
func (m *meter) add(n int) { m.done.Add(int64(n)) }

// stop ends the reports; when it returns there are no more.
func (m *meter) stop() {
	close(m.stopCh)
	<-m.gone
}

func (m *meter) now() ipa.Progress {
	done := m.done.Load()
	p := ipa.Progress{Phase: m.phase, Done: done, Total: m.total, Written: done, SecondsLeft: -1}
	if elapsed := time.Since(m.began).Seconds(); done > 0 && elapsed > 0 {
		p.BytesPerSec = float64(done) / elapsed
		p.SecondsLeft = max(0, float64(m.total-done)/p.BytesPerSec)
	}
	return p
}
