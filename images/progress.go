package images

import (
	"time"

	"ferric/api/ipa"
)

// reportEvery is the time between two calls of a progress function.
const reportEvery = time.Second

// gauge tells the numbers of a transfer at this moment.
type gauge func() (done, total, written int64)

// report calls progress every second with what g tells, until the function
// that it returns is called, which reports a last time. The rate is that of
// the last seconds, smoothed.
func report(progress func(ipa.Progress), g gauge) (finish func(ok bool)) {
	if progress == nil {
		return func(bool) {}
	}
	stop, stopped := make(chan bool), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		begin := time.Now()
		var rate float64
		last, before := begin, int64(0)
		for {
			select {
			case now := <-tick.C:
				done, total, written := g()
				current := float64(done-before) / now.Sub(last).Seconds()
				if rate == 0 {
					rate = current
				}
				rate = 0.7*rate + 0.3*current
				last, before = now, done
				progress(ipa.Progress{Step: "write_image", Done: done, Total: max(total, 0), Written: written, BytesPerSec: rate, SecondsLeft: left(done, total, rate)})
			case ok := <-stop:
				done, total, written := g()
				p := ipa.Progress{Step: "write_image", Done: done, Total: max(total, 0), Written: written, SecondsLeft: -1, Finished: ok}
				p.BytesPerSec = float64(done) / max(time.Since(begin).Seconds(), 1e-3)
				if ok {
					p.SecondsLeft = 0
				}
				progress(p)
				return
			}
		}
	}()
	return func(ok bool) {
		stop <- ok
		<-stopped
	}
}

func left(done, total int64, rate float64) float64 {
	if total <= 0 || rate <= 0 {
		return -1
	}
	return float64(total-done) / rate
}
