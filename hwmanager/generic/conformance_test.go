package generic

import (
	"testing"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// TestConformance: what vendors' managers have to do, this one does.
func TestConformance(t *testing.T) {
	t.Parallel()
	hwmtest.Run(t, func() hwmanager.Manager { return New() }, hwmtest.AnyMachine())
}
