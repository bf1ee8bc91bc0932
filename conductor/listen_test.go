package conductor

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key, a.pem = certify(t, template, nil)
	block, _ := pem.Decode(a.pem)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	a.cert = cert
	return a
}

func certify(t *testing.T, template *x509.Certificate, by *authority) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue writes a certificate and its key.
func (a *authority) issue(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, cert := certify(t, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serve opens the listeners of cfg and serves them until the test ends.
func serve(t *testing.T, cfg Config) []apiListener {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	log := logrus.NewEntry(logger)
	api, err := restapi.New(cfg.API, db, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := listenAPI(cfg, api, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		done := make(chan error, 1)
		go func() { done <- serveAPI(t.Context(), l) }()
		t.Cleanup(func() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return listeners
}

func loopback() Config {
	cfg := DefaultConfig()
	cfg.APIHostIP, cfg.APIPort = "127.0.0.1", 0
	return cfg
}

// get gives the status of an answer, 0 when there is none.
func get(t *testing.T, transport *http.Transport, url string) int {
	t.Helper()
	transport.DisableKeepAlives = true // each request makes a handshake
	resp, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		t.Logf("%s: %v", url, err)
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first.issue(t, certFile, keyFile)
	cfg := loopback()
	cfg.Listen.TLS, cfg.Listen.CertFile, cfg.Listen.KeyFile = true, certFile, keyFile
	url := "https://" + serve(t, cfg)[0].Addr().String() + "/"
	trusting := func(a *authority, lowest, highest uint16) *http.Transport {
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: lowest, MaxVersion: highest}}
	}
	if got := get(t, trusting(first, 0, 0), url); got != 200 {
		t.Errorf("status %d", got)
	}
	if got := get(t, trusting(second, 0, 0), url); got != 0 {
		t.Errorf("a certificate of nobody we trust: %d", got)
	}
	if got := get(t, trusting(first, tls.VersionTLS10, tls.VersionTLS11), url); got != 0 {
		t.Errorf("TLS 1.1: %d", got)
	}
	if got := get(t, &http.Transport{}, strings.Replace(url, "https", "http", 1)); got == 200 {
		t.Errorf("without TLS: %d", got)
	}
	// Between the writing of the one and the other file the old pair serves.
	if err := os.WriteFile(certFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := get(t, trusting(first, 0, 0), url); got != 200 {
		t.Errorf("while the files are written: %d", got)
	}
	second.issue(t, certFile, keyFile)
	if got := get(t, trusting(second, 0, 0), url); got != 200 {
		t.Errorf("after the files have changed: %d", got)
	}
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	ours, strange := newAuthority(t, "ours"), newAuthority(t, "strange")
	cfg := loopback()
	cfg.Listen.TLS, cfg.Listen.CertFile, cfg.Listen.KeyFile, cfg.Listen.CAFile = true, filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")
	ours.issue(t, cfg.Listen.CertFile, cfg.Listen.KeyFile)
	if err := os.WriteFile(cfg.Listen.CAFile, ours.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.API.Edge.AgentListen = "127.0.0.1:0"
	listeners := serve(t, cfg)
	for _, c := range []struct {
		name  string
		by    *authority
		wants [2]int // of the main listener and the agents'
	}{{"none", nil, [2]int{0, 200}}, {"ours", ours, [2]int{200, 200}}, {"strange", strange, [2]int{0, 200}}} {
		config := &tls.Config{RootCAs: x509.NewCertPool()}
		config.RootCAs.AddCert(ours.cert)
		if c.by != nil {
			c.by.issue(t, filepath.Join(dir, "client"), filepath.Join(dir, "client.key"))
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client"), filepath.Join(dir, "client.key"))
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		for i, l := range listeners {
			if got := get(t, &http.Transport{TLSClientConfig: config}, "https://"+l.Addr().String()+"/"); got != c.wants[i] {
				t.Errorf("certificate %s, listener %d: %d, want %d", c.name, i, got, c.wants[i])
			}
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := loopback()
	cfg.Listen.UnixSocket, cfg.Listen.UnixSocketMode = path, "0600"
	if _, err := listenUnix(path, ""); err == nil {
		t.Error("somebody else's socket is taken away")
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	serve(t, cfg)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /v1/nodes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("%v %v", resp, err)
	}
}

// TestAgentListener: agents find their endpoints, and nothing else, at theirs.
func TestAgentListener(t *testing.T) {
	cfg := loopback()
	cfg.API.Edge.AgentListen = "127.0.0.1:0"
	listeners := serve(t, cfg)
	for i, want := range []map[string]int{{"/": 200, "/v1": 200, "/v1/nodes": 200, "/v1/lookup": 404}, {"/": 200, "/v1": 200, "/v1/nodes": 404, "/v1/lookup": 400}} {
		for path, status := range want {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+listeners[i].Addr().String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-OpenStack-Ironic-API-Version", "1.62")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != status {
				t.Errorf("listener %d, %s: %d, want %d", i, path, resp.StatusCode, status)
			}
		}
	}
}

// TestConnectionLimit: with all places taken a connection waits until one is free.
func TestConnectionLimit(t *testing.T) {
	cfg := loopback()
	cfg.Listen.MaxConnections = 1
	address := serve(t, cfg)[0].Addr().String()
	idle, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address) // waits in the kernel's queue
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection too many is served")
	}
	idle.Close()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("the place of a connection that is gone is not given away: %v", err)
	}
}
