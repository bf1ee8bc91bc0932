package plugin

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariables(t *testing.T) {
	got := Variables(map[string]any{"method": "execute_step", "step": "count", "phase": "clean", "host": map[string]string{"sys": "/sys", "proc": "/p"}, "args": map[string]any{
		"minimum_mib": json.Number("256"), "ratio": 1.5, "big": float64(1 << 40), "deep": true, "disk-name": "sda b",
		"list": []any{1}, "object": map[string]any{}, "none": nil, "nul": "a\x00b", "long": strings.Repeat("x", maxVariable+1), "é": "x", "n": 3,
	}})
	want := []string{
		"FERRIC_PROC=/p", "FERRIC_SYS=/sys", "FERRIC_STEP=count", "FERRIC_PHASE=clean",
		"FERRIC_ARG_BIG=1099511627776", "FERRIC_ARG_DEEP=true", "FERRIC_ARG_DISK_NAME=sda b", "FERRIC_ARG_MINIMUM_MIB=256",
		"FERRIC_ARG_N=3", "FERRIC_ARG_RATIO=1.5", "FERRIC_ARG__=x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	other := Variables(map[string]any{"method": "collect", "host": map[string]string{"dev": "/dev"}, "args": map[string]any{"a": 1}})
	if diff := cmp.Diff([]string{"FERRIC_DEV=/dev"}, other); diff != "" {
		t.Errorf("variables of what is no step (-want +got):\n%s", diff)
	}
}
