package stopwatch_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ferric/images/stopwatch"
)

func TestTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w stopwatch.Watch
		want := func(d time.Duration) {
			t.Helper()
			if got := w.Total(); got != d {
				t.Errorf("total %v, want %v", got, d)
			}
		}
		want(0)
		stop := w.Start()
		time.Sleep(time.Second)
		want(time.Second)
		stop()
		time.Sleep(time.Second)
		want(time.Second)
		stop = w.Start()
		time.Sleep(2 * time.Second)
		want(3 * time.Second)
		stop()
		want(3 * time.Second)
	})
}
