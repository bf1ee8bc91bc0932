package stories_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

// TestStepRebootsMachine has a vendor's step, an executable that was dropped into
// the ramdisk, boot the machine twice in its middle. The conductor dies during
// the first of these reboots. The step itself fails if it is not told which boots
// it has seen, or if there was none since.
func TestStepRebootsMachine(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" { // make test-full
		return
	}
	ramdisk := extended(t, "--plugin", "integration/stories/testdata/acme-card")
	site, image := open(t, small(), osimage.Options{}, stories.Options{RamdiskDir: ramdisk})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	m := enrolSmall(ctx, t, site, image)
	killed := false
	m.Once(cleanStep("flash_card"), func() {
		for n := (*ironic.Node)(nil); n == nil || n.DriverInternalInfo["clean_step_reboots"] == nil; {
			var err error
			if n, err = site.API.Node(ctx, m.Name); err != nil {
				t.Error(err)
				return
			}
		}
		site.KillConductor()
		killed = site.StartConductor(ctx) == nil
	})
	began := time.Now()
	flash := ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "firmware", Step: "flash_card"}}}
	if err := m.Provision(ctx, flash, ironic.StateManageable); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f s: flashed", time.Since(began).Seconds())
	events, err := site.API.Events(ctx, m.Name)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range events {
		if e.Kind == "step" {
			told = append(told, e.Detail)
		}
	}
	const step = "clean step firmware.flash_card "
	want := strings.Join([]string{"started", "asked for a reboot (1 of 5)", "started", "asked for a reboot (2 of 5)", "started", "done"}, "\n"+step)
	if got := strings.Join(told, "\n"); got != step+want {
		t.Errorf("the events of steps are\n%s; want\n%s", got, step+want)
	}
	n, err := site.API.Node(ctx, m.Name)
	if err != nil {
		t.Fatal(err)
	}
	if n.LastError != nil || !killed {
		t.Errorf("last_error %v, conductor killed: %v; want none and that it was", n.LastError, killed)
	}
}
