package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"ferric/api/ipa"
	"ferric/api/ironic"
)

// agentVersion is that of a real agent.
const agentVersion = "12.0.0"

// certificate is what the simulated agents serve with. They share one, for the
// sake of the processors: the conductor checks it at each call all the same.
type certificate struct {
	tls tls.Certificate
	pem string
}

func newCertificate() (c certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agent"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return c, err
	}
	c.tls = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	c.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return c, nil
}

// calls are the requests of agents to the conductor, each from its machine's
// own address and over a connection of its own, as those of real agents.
type calls struct{ f *fleet }

// callError is an answer that is none of the good ones.
type callError struct {
	status int
	text   string
}

func (e *callError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.text) }

func (c calls) do(ctx context.Context, n *node, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.f.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set(ironic.HeaderVersion, "1.96")
	req.Header.Set("Content-Type", "application/json")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(n.address())}}
	agent := http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
	resp, err := agent.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300:
		return &callError{resp.StatusCode, string(text)}
	case out == nil:
		return nil
	}
	return json.Unmarshal(text, out)
}

// lookup finds the node by the machine's MAC address and takes the token. The
// first words of an agent may be too early: it asks again.
func (c calls) lookup(ctx context.Context, n *node) (token string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		var found ipa.LookupResponse
		err := c.do(ctx, n, http.MethodGet, "/v1/lookup?addresses="+n.mac(), nil, &found)
		var refused *callError
		switch {
		case err == nil && found.Config.AgentToken == ipa.MaskedToken:
			return "", fmt.Errorf("lookup of %s: the token was given to somebody else", n.name)
		case err == nil:
			return found.Config.AgentToken, nil
		case !errors.As(err, &refused) || ctx.Err() != nil:
			return "", fmt.Errorf("lookup of %s: %w", n.name, err)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("lookup of %s: %w", n.name, err)
		case <-time.After(time.Second):
		}
	}
}

func (c calls) heartbeat(ctx context.Context, n *node, hb ipa.Heartbeat) error {
	hb.AgentVersion = agentVersion
	err := c.do(ctx, n, http.MethodPost, "/v1/heartbeat/"+n.uuid, hb, nil)
	if err == nil {
		c.f.heartbeats.add()
	}
	return err
}

// beat is the heartbeat of an agent that waits for work.
func (f *fleet) beat(ctx context.Context, n *node) error {
	n.mu.Lock()
	token, busy := n.token, n.busy
	n.mu.Unlock()
	if busy {
		return nil
	}
	if token == "" {
		var err error
		if token, err = f.calls.lookup(ctx, n); err != nil {
			return f.stillIdle(n, err)
		}
		n.mu.Lock()
		if !n.busy {
			n.token = token
		}
		n.mu.Unlock()
	}
	err := f.calls.heartbeat(ctx, n, ipa.Heartbeat{CallbackURL: "https://" + n.address() + ":9999", AgentToken: token, AgentVerifyCA: f.certificate.pem})
	if busyNow(err) { // the next heartbeat will do
		f.refused.Add(1)
		return nil
	}
	return f.stillIdle(n, err)
}

// busyNow says that a call was refused for the moment only.
func busyNow(err error) bool {
	var refused *callError
	return errors.As(err, &refused) && (refused.status == http.StatusConflict || refused.status == http.StatusServiceUnavailable)
}

// stillIdle is err, unless the machine has been taken away from the agent meanwhile.
func (f *fleet) stillIdle(n *node, err error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy {
		return nil
	}
	return err
}

// machine is one that is being deployed: an agent that does as it is told.
type machine struct {
	f     *fleet
	n     *node
	token string
	url   string
	http  *http.Server
	wake  chan struct{} // a heartbeat is due
	off   chan struct{} // it was told to power off

	mu       sync.Mutex
	commands []ipa.Result
	once     sync.Once
}

// boot waits for the machine to be switched on, takes the time that a machine
// takes, and starts its agent.
func (f *fleet) boot(ctx context.Context, n *node) (*machine, error) {
	if err := f.reach(ctx, n, "wait call-back"); err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(f.o.boot.random()):
	}
	m := &machine{f: f, n: n, wake: make(chan struct{}, 1), off: make(chan struct{})}
	var err error
	if m.token, err = f.calls.lookup(ctx, n); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m.url = "https://" + listener.Addr().String()
	m.http = &http.Server{Handler: m, TLSConfig: &tls.Config{Certificates: []tls.Certificate{f.certificate.tls}}, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = m.http.ServeTLS(listener, "", "") }() // ends with close
	return m, nil
}

func (m *machine) close() { _ = m.http.Close() }

// run sends heartbeats until the machine is told to power off.
func (m *machine) run(ctx context.Context) error {
	limit := time.NewTimer(20 * time.Minute)
	defer limit.Stop()
	for {
		err := m.f.calls.heartbeat(ctx, m.n, ipa.Heartbeat{CallbackURL: m.url, AgentToken: m.token, AgentVerifyCA: m.f.certificate.pem})
		next := m.f.o.heartbeat
		if busyNow(err) {
			m.f.refused.Add(1)
			next = 2 * time.Second
		} else if err != nil && !m.isOff() { // whose last words nobody wants
			return fmt.Errorf("heartbeat: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.off:
			return nil
		case <-limit.C:
			return errors.New("the agent was never told to power off")
		case <-m.wake:
		case <-time.After(next):
		}
	}
}

// isOff says whether the machine was told to power off.
func (m *machine) isOff() bool {
	select {
	case <-m.off:
		return true
	default:
		return false
	}
}

// ServeHTTP is the agent's API of commands.
func (m *machine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("agent_token") != m.token {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"faultcode":"Client","faultstring":"401 Unauthorized: Token invalid."}`)
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/v1/commands") {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"faultcode":"Client","faultstring":"404 Not Found"}`)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(ipa.Results{Commands: m.commands}) // to a conductor that has gone
		return
	}
	var req ipa.Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(m.command(req))
}

// command starts a command; m is locked.
func (m *machine) command(req ipa.Request) ipa.Result {
	_, name, _ := strings.Cut(req.Name, ".")
	i := len(m.commands)
	result := ipa.Result{ID: fmt.Sprint(i), Name: name, Status: ipa.StatusSucceeded, Result: json.RawMessage("null")}
	switch name {
	case "get_deploy_steps":
		result.Result = json.RawMessage(`{"deploy_steps": {"GenericHardwareManager": [
			{"step": "write_image", "interface": "deploy", "priority": 0, "reboot_requested": false, "abortable": false},
			{"step": "inject_files", "interface": "deploy", "priority": 0, "reboot_requested": false, "abortable": false},
			{"step": "erase_devices_metadata", "interface": "deploy", "priority": 0, "reboot_requested": false, "abortable": false}]},
			"hardware_manager_version": {"generic_hardware_manager": "1.2"}}`)
	case "execute_deploy_step":
		result.Status = ipa.StatusRunning
		answer, err := json.Marshal(map[string]any{"deploy_step": req.Params["step"], "deploy_result": nil})
		if err != nil {
			return ipa.Result{ID: result.ID, Name: name, Status: ipa.StatusFailed, Error: ipa.Cleaning.New("%v", err)}
		}
		m.later(i, m.f.o.write.random(), answer)
	case "get_partition_uuids":
		result.Result = json.RawMessage(`{"root uuid": "0x12345678"}`)
	case "install_bootloader":
		result.Status = ipa.StatusRunning
		m.later(i, min(time.Second, m.f.o.write.least), json.RawMessage("null"))
	case "power_off":
		m.once.Do(func() { close(m.off) })
	}
	m.commands = append(m.commands, result)
	return result
}

// later ends command i with a result, and has the agent say so.
func (m *machine) later(i int, after time.Duration, result json.RawMessage) {
	time.AfterFunc(after, func() {
		m.mu.Lock()
		m.commands[i].Status, m.commands[i].Result = ipa.StatusSucceeded, result
		m.mu.Unlock()
		select {
		case m.wake <- struct{}{}:
		default:
		}
	})
}
