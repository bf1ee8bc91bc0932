package raidctl

import (
	"testing"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// TestConformance: the manager passes the suite, with a controller and without.
func TestConformance(t *testing.T) {
	t.Parallel()
	factory := func() hwmanager.Manager { return New() }
	config := hwmtest.WithNode(hwmanager.Node{"target_raid_config": map[string]any{"logical_disks": []any{map[string]any{"raid_level": "0", "size_gb": 1.0}}}})
	t.Run("no controller", func(t *testing.T) { hwmtest.Run(t, factory) })
	t.Run("MegaRAID", func(t *testing.T) {
		hwmtest.Run(t, factory, hwmtest.OnHost("testdata/9361"), config)
	})
	t.Run("Smart Array", func(t *testing.T) { hwmtest.Run(t, factory, hwmtest.OnHost("testdata/p408i"), config) })
}
