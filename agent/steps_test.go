package agent

import (
	"strings"
	"testing"
	"time"

	"ferric/hwmanager"
)

// TestStepWithoutName wants the message to hold nothing of what the arguments
// of a step may contain.
func TestStepWithoutName(t *testing.T) {
	a := onSlowBus(t, map[string]time.Duration{"/dev/sda": 0})
	a.setNode(map[string]any{"uuid": "u"})
	step := map[string]any{"interface": "deploy", "args": map[string]any{"image_info": map[string]any{"image_server_password": "hunter2"}}}
	_, err := a.executeStep(t.Context(), hwmanager.Deploy, params{"node": map[string]any{"uuid": "u"}, "ports": []any{}, "step": step}, nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), `["args" "interface"]`) {
		t.Errorf("error = %v; want one with the keys of the step alone", err)
	}
}
