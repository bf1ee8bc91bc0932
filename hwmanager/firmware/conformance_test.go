package firmware

import (
	"strings"
	"testing"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// TestConformance: the manager passes the suite, on a machine with a drive.
func TestConformance(t *testing.T) {
	t.Parallel()
	hwmtest.Run(t, func() hwmanager.Manager { return New() }, hwmtest.WithArgs("update_firmware", map[string]any{"components": []any{
		map[string]any{"component": "nvme", "url": "http://127.0.0.1:9/image", "checksum": strings.Repeat("0", 64), "model": "EXAMPLE*", "version": "2.0"},
	}}))
}
