package execplugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

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
