package agent

import (
	"bytes"
	"encoding/json"
	"testing"

	"ferric/agent/command"
	"ferric/agent/server"
	"ferric/api/ipa"
)

// FuzzCommandParams reads the parameters of flows and steps as the server
// would pass them on: nothing panics, and a step that is echoed is small and
// keeps its name.
func FuzzCommandParams(f *testing.F) {
	for _, seed := range []string{
		`{"flow":[{"standby.sync":{}},{"clean.execute_clean_step":{"step":{"step":"x"}}}]}`, `{"flow":[{}]}`, `{"flow":[{"a":{}, "b":{}}]}`, `{"flow":[{"flow.start_flow":{"flow":[]}}]}`,
		`{"step":{"step":"erase","interface":"deploy","args":{"n":18446744073709551615}},"node":{"uuid":"u"},"ports":[{}],"clean_version":{"a":"1"},"more":1}`,
		`{"step":{"step":"x","args":[]},"node":{"uuid":"u"},"ports":null}`, `{"step":null,"node":null,"ports":[1]}`, `{"image_source":"oci://x","instance_info":[],"pull_secret":1}`,
	} {
		f.Add([]byte(seed))
	}
	table := command.Table{"standby": {"sync": {Run: nothing}}, "clean": {"execute_clean_step": {Run: nothing, Extra: true}}, "flow": {"start_flow": {Run: nothing}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		body := append(append([]byte(`{"name":"a.b","params":`), data...), '}')
		req, err := server.DecodeRequest(bytes.NewReader(body), int64(len(body)))
		if err != nil {
			return
		}
		entries, err := parseFlow(table, req.Params["flow"])
		if err != nil && !ipa.InvalidCommandParams.Is(err) {
			t.Errorf("flow %s: %v; want InvalidCommandParamsError", data, err)
		}
		for _, e := range entries {
			if e.name == "flow.start_flow" || e.params == nil {
				t.Errorf("flow %s: accepted %+v", data, e)
			}
		}
		if err := checkVersions(req.Params["clean_version"], map[string]string{"a": "1"}); err != nil && !ipa.VersionMismatch.Is(err) && !ipa.InvalidCommandParams.Is(err) {
			t.Errorf("version %s: %v", data, err)
		}
		step, ok := req.Params["step"].(map[string]any)
		if !ok {
			return
		}
		if args, err := stepArgs(req.Params, step, "clean_version"); err == nil && (args["node"] != nil && step["args"] == nil) {
			t.Errorf("%s: the node is among the arguments", data)
		}
		echo, err := echoOf(step)
		if err != nil {
			return
		}
		var again map[string]any
		if err := json.Unmarshal(echo, &again); err != nil || len(echo) > maxEcho || again["step"] == nil && step["step"] != nil {
			t.Errorf("%s is echoed as %s, %v", data, echo, err)
		}
	})
}
