package execplugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

func TestVariables(t *testing.T) {
	got := variables(map[string]any{
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

// TestPlainArguments has a shell script use an argument, and the default of another.
func TestPlainArguments(t *testing.T) {
	script := filepath.Join(t.TempDir(), "plain")
	text := `#!/bin/sh
case $1 in
describe) echo '{"result": {"name": "plain", "version": "1.0.0", "sdk": "1.0", "methods": ["evaluate_hardware_support", "get_clean_steps", "execute_step"]}}' ;;
evaluate_hardware_support) echo '{"result": 3}' ;;
get_clean_steps) echo '{"result": [{"step": "count", "interface": "deploy", "argsinfo": {"low": {"type": "integer", "required": true}, "high": {"type": "integer", "default": 9}}}]}' ;;
execute_step) echo "{\"result\": \"$FERRIC_ARG_LOW to $FERRIC_ARG_HIGH\"}" ;;
*) exit 3 ;;
esac
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	h := hwmtest.New(t, "").Host
	p, err := Open(t.Context(), script, Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{p})
	if err != nil {
		t.Fatal(err)
	}
	result, err := set.RunStep(t.Context(), h, hwmanager.Clean, "count", hwmanager.StepCall{Args: map[string]any{"low": json.Number("2")}})
	if err != nil || result != "2 to 9" {
		t.Errorf("the step answers %v, %v; want 2 to 9", result, err)
	}
}
