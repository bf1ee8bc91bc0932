package generic

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []ipa.Progress
		m := startMeter("erasing", 1000, func(p ipa.Progress) { got = append(got, p) })
		time.Sleep(1500 * time.Millisecond)
		m.share(600)(hwmanager.EraseProgress{Fraction: 0.5, Written: 250})
		time.Sleep(time.Second)
		m.stop()
		time.Sleep(5 * time.Second)
		want := []ipa.Progress{
			{Phase: "erasing", Total: 1000, SecondsLeft: -1},
			{Phase: "erasing", Done: 300, Total: 1000, Written: 250, BytesPerSec: 150, SecondsLeft: 700.0 / 150},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
	})
}
