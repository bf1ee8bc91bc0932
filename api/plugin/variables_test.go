package plugin

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariables(t *testing.T) {
	got := Variables(map[string]any{
		"minimum_mib": json.Number("256"), "ratio": 1.5, "big": float64(1 << 40), "deep": true, "disk-name": "sda b",
		"list": []any{1}, "object": map[string]any{}, "none": nil, "nul": "a\x00b", "long": strings.Repeat("x", maxVariable+1), "é": "x", "n": 3,
	})
	want := []string{
		"FERRIC_ARG_BIG=1099511627776", "FERRIC_ARG_DEEP=true", "FERRIC_ARG_DISK_NAME=sda b", "FERRIC_ARG_MINIMUM_MIB=256",
		"FERRIC_ARG_N=3", "FERRIC_ARG_RATIO=1.5", "FERRIC_ARG__=x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}
