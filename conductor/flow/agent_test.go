package flow_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"ferric/api/ipa"
)

// scriptedAgent speaks the agent's side of the command API over TLS. Steps run
// until the test says how they end.
type scriptedAgent struct {
	*httptest.Server
	t       *testing.T
	token   func() string
	version string // of its heartbeats

	mu       sync.Mutex
	commands []ipa.Result
	params   []map[string]any
	offers   map[string][]ipa.Step // by phase
	powerOff func()
	busy     int    // steps to be refused
	canceled int    // requests to end the step that runs
	cut      string // the command that no answer is given to
	lists    int    // lists that are answered before the agent vanishes; 0 is all
	erased   *ipa.EraseReport
	logs     string // base64
	answer   any    // of the step that ends next
	resumes  bool   // it goes on with steps after a reboot
	leaving  string // the command after whose answer nobody can connect any more
	left     any    // what the step that ends next asks for a reboot with; nil does not
	warm     bool   // that reboot is to be a warm one
	settled  bool   // the step that ends next needs no reboot, though it is declared with one
	stays    bool   // told to restart its machine it does not
}

func newAgent(t *testing.T, token func() string) *scriptedAgent {
	a := &scriptedAgent{t: t, token: token, version: "1.0", offers: map[string][]ipa.Step{
		"clean": {
			{Step: "erase_devices_metadata", Interface: "deploy", Priority: 99, Abortable: true},
			{Step: "erase_devices", Interface: "deploy", Priority: 10, Abortable: true},
			{Step: "burnin_cpu", Interface: "deploy", Priority: 0},
		},
		"deploy": {{Step: "write_image", Interface: "deploy", Priority: 0}},
	}}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

// certificate is what the agent's heartbeats carry.
func (a *scriptedAgent) certificate() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}))
}

func (a *scriptedAgent) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.URL.Query().Get("agent_token") != a.token() {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"faultcode":"Client","faultstring":"401 Unauthorized: Token invalid."}`)
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == "/ferric/v1/erase_report" {
		if a.erased == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(a.erased)
		return
	}
	if r.Method == http.MethodGet && a.lists > 0 {
		if a.lists--; a.lists == 0 {
			a.lists = 1
			panic(http.ErrAbortHandler) // cuts the connection
		}
	}
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(ipa.Results{Commands: a.commands})
		return
	}
	if r.Method == http.MethodDelete {
		last := &a.commands[len(a.commands)-1]
		if r.URL.Path != "/ferric/v1/commands/"+last.ID || r.URL.Query().Get("wait") != "true" {
			a.t.Errorf("agent was asked to %s %s", r.Method, r.URL)
		}
		a.canceled++
		last.Status, last.Error = ipa.StatusFailed, ipa.Cleaning.New("cancelled by request")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(last)
		return
	}
	var req ipa.Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		a.t.Errorf("agent got a malformed command: %v", err)
	}
	_, name, _ := strings.Cut(req.Name, ".")
	if a.cut != "" && name == a.cut {
		panic(http.ErrAbortHandler) // cuts the connection
	}
	if strings.HasPrefix(name, "execute_") && a.busy > 0 {
		a.busy--
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"faultcode":"Client","faultstring":"Agent is busy: executing command burnin_cpu"}`)
		return
	}
	result := ipa.Result{ID: fmt.Sprint(len(a.commands)), Name: name, Status: ipa.StatusSucceeded}
	switch {
	case strings.HasPrefix(name, "get_") && strings.HasSuffix(name, "_steps"):
		phase := strings.Split(name, "_")[1]
		answer := map[string]any{
			phase + "_steps":           map[string]any{"GenericHardwareManager": a.offers[phase]},
			"hardware_manager_version": map[string]string{"generic_hardware_manager": "1.2"},
		}
		if a.resumes {
			answer[ipa.ResumesKey] = true
		}
		result.Result = a.encode(answer)
	case name == "get_partition_uuids":
		result.Result = a.encode(map[string]string{"root uuid": "0x00000000"})
	case name == "collect_system_logs":
		result.Result = a.encode(map[string]string{"system_logs": a.logs})
	case name == "run_image" && a.stays:
		result.Status, result.Error = ipa.StatusFailed, ipa.SystemReboot.New("no reboot here")
	case name == "power_off":
		a.powerOff()
	case strings.HasPrefix(name, "execute_"):
		result.Status = ipa.StatusRunning
	}
	a.commands = append(a.commands, result)
	a.params = append(a.params, req.Params)
	_ = json.NewEncoder(w).Encode(result)
	if a.leaving != "" && name == a.leaving {
		a.Listener.Close()
	}
}

// goAfter has nobody connect to the agent once it has answered the command.
func (a *scriptedAgent) goAfter(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaving = name
}

// comeBack ends that.
func (a *scriptedAgent) comeBack() {
	l, err := net.Listen("tcp", a.Listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	a.goAfter("")
	go func() { _ = a.Config.Serve(tls.NewListener(l, a.TLS)) }() // until the server is closed
}

// finish ends the step that runs.
func (a *scriptedAgent) finish(status string, failure *ipa.Error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := &a.commands[len(a.commands)-1]
	if last.Status != ipa.StatusRunning {
		a.t.Fatalf("no step runs; the last command is %+v", last)
	}
	last.Status, last.Error = status, failure
	if failure == nil {
		phase := strings.Split(last.Name, "_")[1]
		answer := map[string]any{phase + "_step": a.params[len(a.params)-1]["step"], phase + "_result": a.answer}
		if a.left != nil {
			answer[ipa.ResumeKey], answer[phase+"_result"] = a.left, nil
			if a.warm {
				answer[ipa.WarmKey] = true
			}
		}
		if a.settled {
			answer[ipa.NoRebootKey] = true
		}
		last.Result = a.encode(answer)
	}
}

// resume is what the last command was sent as the state of its step, as JSON; ""
// if it was not sent any.
func (a *scriptedAgent) resume() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	state, ok := a.params[len(a.params)-1][ipa.ResumeKey]
	if !ok {
		return ""
	}
	return string(a.encode(state))
}

// reboot forgets all commands, as a freshly booted agent has none.
func (a *scriptedAgent) reboot() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commands, a.params = nil, nil
}

// refuse answers the next steps as a busy agent does.
func (a *scriptedAgent) refuse(steps int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = steps
}

// vanishAfter answers so many lists of commands and then none any more.
func (a *scriptedAgent) vanishAfter(lists int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lists = lists + 1
}

// vanishAt gives no answer to the command of this name; "" is none.
func (a *scriptedAgent) vanishAt(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut = name
}

// count counts the commands of a name.
func (a *scriptedAgent) count(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, c := range a.commands {
		if c.Name == name {
			n++
		}
	}
	return n
}

// last is the name of the last command and its step, "execute_clean_step deploy.erase_devices".
func (a *scriptedAgent) last() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.commands) == 0 {
		return ""
	}
	i := len(a.commands) - 1
	step, ok := a.params[i]["step"].(map[string]any)
	if !ok {
		return a.commands[i].Name
	}
	return fmt.Sprintf("%s %v.%v", a.commands[i].Name, step["interface"], step["step"])
}

func (a *scriptedAgent) encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}
