package agentclient

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

const token = "secret-token-of-32-characters-or-more"

// agent serves handler over TLS with a certificate of its own and returns a
// client that has it pinned.
func agent(t *testing.T, handler http.HandlerFunc) (*Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return pinned(server), server
}

func pinned(server *httptest.Server) *Client {
	c := New(server.URL+"/", token, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	c.retryDelay = time.Millisecond
	return c
}

func TestExecute(t *testing.T) {
	c, _ := agent(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := []string{r.Method, r.URL.Path, r.URL.Query().Get("wait"), r.URL.Query().Get("agent_token"), string(body)}
		want := []string{"POST", "/v1/commands/", "true", token, `{"name":"standby.sync","params":{}}`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
		if r.TLS.Version < 0x0304 {
			t.Errorf("TLS version %#x, want 1.3", r.TLS.Version)
		}
		io.WriteString(w, `{"id":"1","command_name":"sync","command_status":"FAILED","command_error":{"type":"X","code":500,"message":"m","details":"d"},"command_result":null}`)
	})
	got, err := c.Execute(t.Context(), "standby.sync", nil, true)
	if err != nil {
		t.Fatal(err)
	}
	want := &ipa.Result{ID: "1", Name: "sync", Status: ipa.StatusFailed, Error: &ipa.Error{Type: "X", Code: 500, Message: "m", Details: "d"}, Result: json.RawMessage("null")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		busy   bool
		text   string
	}{
		{"busy", 409, `{"faultcode":"Client","faultstring":"Agent is busy: executing command prepare_image"}`, true, "prepare_image"},
		{"busy, old agent", 500, `{"faultstring":"Agent is busy"}`, true, "Agent is busy"},
		{"token", 401, `{"faultcode":"Client","faultstring":"401 Unauthorized: Token invalid."}`, false, "Token invalid"},
		{"no JSON", 502, `<html>`, false, "Bad Gateway"},
		{"redirect", 302, ``, false, "redirects"},
		{"broken JSON", 200, `{"id":`, false, "broken JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var requests atomic.Int32
			c, _ := agent(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if tc.status == 302 {
					w.Header().Set("Location", "https://192.0.2.1/")
				}
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			})
			_, err := c.Execute(t.Context(), "standby.prepare_image", map[string]any{"a": 1}, false)
			if err == nil || errors.Is(err, ErrBusy) != tc.busy || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v, want one with %q, busy %v", err, tc.text, tc.busy)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("error tells the token: %v", err)
			}
			if tc.status != 302 && requests.Load() != 1 {
				t.Errorf("%d requests, want 1: a refusal is final", requests.Load())
			}
		})
	}
}

func TestPinning(t *testing.T) {
	_, one := agent(t, func(w http.ResponseWriter, r *http.Request) { t.Error("request reached the wrong server") })
	// Same address, another self-signed certificate.
	c := New(one.URL, token, otherCertificate)
	_, err := c.Execute(t.Context(), "standby.sync", nil, true)
	if err == nil || !strings.Contains(err.Error(), "does not own the certificate") {
		t.Errorf("error %v, want refusal of the certificate", err)
	}
	for _, c := range []*Client{New("https://192.0.2.1:9999", token, "rubbish"), New("ftp://x", token, ""), New("::", token, "")} {
		if _, err := c.Commands(t.Context()); err == nil {
			t.Error("no error of a client that was made of rubbish")
		}
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()

	c := New("https://"+address, token, "")
	c.retryDelay = 50 * time.Millisecond
	start := time.Now()
	_, err = c.Execute(t.Context(), "standby.sync", nil, true)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v, want ErrUnreachable naming %s", err, address)
	}
	if strings.Contains(err.Error(), token) {
		t.Errorf("error tells the token: %v", err)
	}
	if waited := time.Since(start); waited < 2*c.retryDelay {
		t.Errorf("gave up after %v, want three attempts", waited)
	}
}

// TestLostAnswer breaks the connection after the command arrived.
func TestLostAnswer(t *testing.T) {
	for _, tc := range []struct {
		name, status string
		found        bool
	}{{"running", ipa.StatusRunning, true}, {"ended", ipa.StatusSucceeded, false}} {
		t.Run(tc.name, func(t *testing.T) {
			var posts atomic.Int32
			c, _ := agent(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					posts.Add(1)
					panic(http.ErrAbortHandler)
				}
				json.NewEncoder(w).Encode(ipa.Results{Commands: []ipa.Result{{ID: "0", Name: "sync"}, {ID: "1", Name: "execute_clean_step", Status: tc.status}}})
			})
			got, err := c.Execute(t.Context(), "clean.execute_clean_step", nil, false)
			if tc.found && (err != nil || got.ID != "1") {
				t.Errorf("result %v, error %v, want the running command", got, err)
			}
			if !tc.found && !errors.Is(err, ErrUnreachable) {
				t.Errorf("error %v, want ErrUnreachable", err)
			}
			if posts.Load() != 1 {
				t.Errorf("command sent %d times, want once", posts.Load())
			}
		})
	}
}

func TestCommandsAndProgress(t *testing.T) {
	var broken atomic.Bool
	c, _ := agent(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("agent_token") != token {
			t.Errorf("token %q", r.URL.Query().Get("agent_token"))
		}
		switch r.URL.Path {
		case "/v1/commands/":
			if !broken.Swap(true) {
				panic(http.ErrAbortHandler) // a list may be asked for again
			}
			io.WriteString(w, `{"commands":[{"id":"1","command_name":"sync","command_status":"SUCCEEDED","command_error":null,"command_result":{"result":"x"}}]}`)
		case "/ferric/v1/progress":
			io.WriteString(w, `{"step":"write_image","done":5,"total":10,"written":7}`)
		}
	})
	commands, err := c.Commands(t.Context())
	if err != nil || len(commands) != 1 || commands[0].Status != ipa.StatusSucceeded {
		t.Errorf("commands %v, error %v", commands, err)
	}
	progress, err := c.Progress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&ipa.Progress{Step: "write_image", Done: 5, Total: 10, Written: 7}, progress); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}

	none, _ := agent(t, http.NotFound)
	if _, err := none.Progress(t.Context()); !errors.Is(err, ErrNoProgress) {
		t.Errorf("error %v, want ErrNoProgress", err)
	}
}

func TestCancelled(t *testing.T) {
	release := make(chan struct{})
	c, _ := agent(t, func(w http.ResponseWriter, r *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Commands(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline of the caller", err)
	}
}

func TestCancel(t *testing.T) {
	running := `{"id":"1","command_name":"sync","command_status":"SUCCEEDED"},{"id":"2 b","command_name":"execute_clean_step","command_status":"RUNNING"}`
	for _, test := range []struct {
		name, commands string
		status         int
		asked          string
		fails          bool
	}{
		{"abortable", running, 202, "DELETE /ferric/v1/commands/2 b true", false},
		{"not abortable", running, 409, "DELETE /ferric/v1/commands/2 b true", true},
		{"nothing runs", `{"id":"1","command_name":"sync","command_status":"SUCCEEDED"}`, 500, "", false},
		{"nothing at all", ``, 500, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := ""
			c, _ := agent(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					io.WriteString(w, `{"commands":[`+test.commands+`]}`)
					return
				}
				asked = r.Method + " " + r.URL.Path + " " + r.URL.Query().Get("wait")
				w.WriteHeader(test.status)
				io.WriteString(w, `{"faultstring":"x"}`)
			})
			if err := c.Cancel(t.Context()); (err != nil) != test.fails || asked != test.asked {
				t.Errorf("Cancel = %v, asked %q; want an error %v, %q", err, asked, test.fails, test.asked)
			}
		})
	}
}
