package stories

import (
	"testing"

	"ferric/api/ipa"
)

func TestDescribe(t *testing.T) {
	p := &ipa.Progress{Step: "write_image", Phase: ipa.PhaseWriting, Bottleneck: ipa.BottleneckDisk, Done: 25e6, Total: 100e6, Written: 20e6, BytesPerSec: 25e6, SecondsLeft: 3}
	const want = "write_image, downloading and writing: 20.0 MB written, 25.0 of 100.0 MB fetched, 25.0 MB/s, time left 3 s, bottleneck: disk"
	if got := describe(p); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	old := &ipa.Progress{Step: "write_image", SecondsLeft: -1} // of an agent that tells no phases
	if got := describe(old); got != "write_image: 0.0 MB written, 0.0 of 0.0 MB fetched, 0.0 MB/s, time left unknown" {
		t.Errorf("%q", got)
	}
}
