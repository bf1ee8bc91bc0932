package images

import (
	"sync"
	"time"

	"ferric/api/ipa"
	"ferric/images/source"
	"ferric/images/sparse"
)

// reportEvery is the time between two calls of a progress function.
const reportEvery = time.Second

// monitor tells a progress function how far a deployment is, every second and
// at the end.
type monitor struct {
	progress func(ipa.Progress) // nil: nobody wants to know
	stop     chan bool
	stopped  chan struct{}

	mu     sync.Mutex
	phase  string
	file   *source.File
	writer *sparse.Writer
}

func watch(progress func(ipa.Progress)) *monitor {
	m := &monitor{progress: progress, stop: make(chan bool), stopped: make(chan struct{})}
	if progress != nil {
		go m.run()
	}
	return m
}

// enter begins a phase of ipa.Progress.
func (m *monitor) enter(phase string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = phase
}

// reads and writes say where the bytes come from and go to from now on.
func (m *monitor) reads(f *source.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file = f
}

func (m *monitor) writes(w *sparse.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writer = w
}

// finish reports a last time.
func (m *monitor) finish(ok bool) {
	if m.progress == nil {
		return
	}
	m.stop <- ok
	<-m.stopped
}

// sample is what the gauges show at one moment.
type sample struct {
	at                   time.Time
	phase                string
	done, total, written int64
	source, disk         time.Duration // waited for so far
}

func (m *monitor) sample(at time.Time) sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := sample{at: at, phase: m.phase}
	if m.file != nil {
		s.done, s.total, s.source = m.file.Done(), max(m.file.Size(), 0), m.file.Waited()
	}
	if m.writer != nil {
		s.written, s.disk = m.writer.Written(), m.writer.Waited()
	}
	return s
}

// run reports until finish. The rate is that of the last seconds, smoothed; at
// the end that of the whole transfer.
func (m *monitor) run() {
	defer close(m.stopped)
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	begin := time.Now()
	last, rate, transferred := sample{at: begin}, 0.0, 0.0
	for {
		select {
		case now := <-tick.C:
			s := m.sample(now)
			current := max(0, float64(s.done-last.done)/s.at.Sub(last.at).Seconds())
			if rate == 0 {
				rate = current
			}
			rate = 0.7*rate + 0.3*current
			p := s.progress()
			p.BytesPerSec, p.SecondsLeft = rate, left(s.done, s.total, rate)
			if s.phase == ipa.PhaseWriting {
				p.Bottleneck = s.bottleneck(last)
				transferred = s.at.Sub(begin).Seconds()
			}
			last = s
			m.progress(p)
		case ok := <-m.stop:
			s := m.sample(time.Now())
			p := s.progress()
			p.SecondsLeft, p.Finished = -1, ok
			if transferred == 0 {
				transferred = s.at.Sub(begin).Seconds()
			}
			p.BytesPerSec = float64(s.done) / max(transferred, 1e-3)
			if ok {
				p.SecondsLeft = 0
			}
			m.progress(p)
			return
		}
	}
}

func (s sample) progress() ipa.Progress {
	return ipa.Progress{Step: "write_image", Phase: s.phase, Done: s.done, Total: s.total, Written: s.written}
}

// bottleneck is what most of the time since before went into. One goroutine
// reads, decodes and hands over to the disk: what it did not spend waiting at
// one of its ends it spent decoding.
func (s sample) bottleneck(before sample) string {
	elapsed := s.at.Sub(before.at)
	source, disk := s.source-before.source, s.disk-before.disk
	if elapsed <= 0 || source < 0 || disk < 0 { // it started over meanwhile
		return ""
	}
	decode := max(0, elapsed-source-disk)
	switch max(source, disk, decode) {
	case source:
		return ipa.BottleneckSource
	case disk:
		return ipa.BottleneckDisk
	}
	return ipa.BottleneckDecode
}

func left(done, total int64, rate float64) float64 {
	if total <= 0 || rate <= 0 {
		return -1
	}
	return float64(total-done) / rate
}
