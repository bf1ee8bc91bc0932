package server

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/agent/command"
	"ferric/api/ipa"
)

// working is a server whose command "test.work" runs until goOn or until it is
// cancelled, over real HTTP.
func working(t *testing.T, readTimeout time.Duration) (base string, goOn chan struct{}, exec *command.Executor) {
	t.Helper()
	goOn = make(chan struct{})
	exec = command.New(t.Context(), command.Table{"test": {"work": {
		Async: true, Params: []string{"abortable"},
		Run: func(ctx context.Context, p map[string]any, report func(ipa.Progress)) (any, error) {
			report(ipa.Progress{Step: "work", Done: 1, Abortable: p["abortable"] == true})
			select {
			case <-goOn:
				return "done", nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
	}}}, command.Options{Ended: func() {}, Log: quiet()})
	s := New(exec, Options{Token: token, Log: quiet(), Logs: func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "archive")
		return err
	}})
	s.http.ReadTimeout = readTimeout
	web := httptest.NewUnstartedServer(nil)
	web.Config = s.http
	web.Start()
	t.Cleanup(web.Close)
	return web.URL, goOn, exec
}

func start(t *testing.T, exec *command.Executor, abortable bool) ipa.Result {
	t.Helper()
	r, _, err := exec.Execute(t.Context(), ipa.Request{Name: "test.work", Params: map[string]any{"abortable": abortable}})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if p, ok := exec.Progress(); ok && p.Step == "work" {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatal("the command does not begin")
		}
	}
}

func request(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

const withToken = "?agent_token=" + token

func TestCancel(t *testing.T) {
	base, goOn, exec := working(t, time.Minute)
	running := start(t, exec, true)
	code, body := request(t, "DELETE", base+"/ferric/v1/commands/"+running.ID+withToken+"&wait=true")
	if code != 202 || !strings.Contains(body, `"command_status":"FAILED"`) || !strings.Contains(body, "cancelled by request") {
		t.Errorf("DELETE = %d %s; want 202 and the failed command", code, body)
	}
	if code, body = request(t, "DELETE", base+"/ferric/v1/commands/"+running.ID+withToken); code != 409 || !strings.Contains(body, "is FAILED") {
		t.Errorf("DELETE again = %d %s; want 409", code, body)
	}
	firm := start(t, exec, false)
	if code, body = request(t, "DELETE", base+"/ferric/v1/commands/"+firm.ID+withToken); code != 409 || !strings.Contains(body, "not abortable") {
		t.Errorf("DELETE of what is not abortable = %d %s; want 409", code, body)
	}
	// Logs are readable while it runs.
	if code, body = request(t, "GET", base+"/ferric/v1/logs"+withToken); code != 200 || body != "archive" {
		t.Errorf("logs = %d %s", code, body)
	}
	close(goOn)
}

// TestStream reads the events of a command from its middle to its end.
func TestStream(t *testing.T) {
	base, goOn, exec := working(t, time.Minute)
	running := start(t, exec, true)
	for _, path := range []string{"/ferric/v1/progress/stream", "/ferric/v1/progress"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", base+path+withToken, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%s answers %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		var got []string
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			line := lines.Text()
			if event, ok := strings.CutPrefix(line, "event: "); ok {
				got = append(got, event)
				if event == "progress" && path == "/ferric/v1/progress" {
					close(goOn)
				}
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				got = append(got, data)
				if path != "/ferric/v1/progress" {
					break // a client that leaves
				}
			}
		}
		want := []string{"progress", `{"step":"work","done":1,"total":0,"written":0,"bytes_per_second":0,"seconds_left":0,"finished":false,"abortable":true}`}
		if path == "/ferric/v1/progress" {
			want = append(want, "end", `{"command_name":"work","command_status":"SUCCEEDED","id":"`+running.ID+`"}`)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// TestWaitingIsNotBounded waits longer than a request may take to be read.
func TestWaitingIsNotBounded(t *testing.T) {
	const limit = 50 * time.Millisecond
	base, goOn, exec := working(t, limit)
	running := start(t, exec, true)
	if _, _, err := exec.Execute(t.Context(), ipa.Request{Name: "test.work"}); !ipa.AgentIsBusy.Is(err) {
		t.Errorf("a second command: %v; want that the agent is busy", err)
	}
	time.AfterFunc(4*limit, func() { close(goOn) })
	code, body := request(t, "GET", base+"/v1/commands/"+running.ID+withToken+"&wait=true")
	if code != 200 || !strings.Contains(body, "SUCCEEDED") {
		t.Errorf("GET with wait = %d %s; want the end of the command", code, body)
	}
}

func TestEraseReport(t *testing.T) {
	var report *ipa.EraseReport
	s := New(command.New(t.Context(), command.Table{}, command.Options{Ended: func() {}, Log: quiet()}), Options{Token: token, Log: quiet(), EraseReport: func() (ipa.EraseReport, bool) {
		if report == nil {
			return ipa.EraseReport{}, false
		}
		return *report, true
	}})
	web := httptest.NewServer(s)
	defer web.Close()
	address := web.URL + "/ferric/v1/erase_report?agent_token=" + token
	if status, _ := request(t, http.MethodGet, address); status != http.StatusNotFound {
		t.Errorf("before the first erase: %d", status)
	}
	report = &ipa.EraseReport{Step: "erase_devices", Devices: []ipa.DeviceErase{{Device: "/dev/sda", Outcome: ipa.EraseRunning}}}
	if status, body := request(t, http.MethodGet, address); status != http.StatusOK || !strings.Contains(body, `"device":"/dev/sda"`) || strings.Contains(body, `"end"`) {
		t.Errorf("while it runs: %d %s", status, body)
	}
	if status, _ := request(t, http.MethodGet, web.URL+"/ferric/v1/erase_report"); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
}
