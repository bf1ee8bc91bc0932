package agent

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"ferric/agent/config"
	"ferric/agent/server"
	"ferric/api/ipa"
)

// minToken is the least length of a token that is adopted (agent contract,
// section "Lookup").
const minToken = 32

// errNoToken: the conductor has given the token to a former life of the agent
// that did not leave it to this one.
var errNoToken = errors.New("the conductor has already handed out the token of this boot, and it is lost")

// identity is what survives a restart of the agent within one boot.
type identity struct {
	Node  string `json:"node"`
	Token string `json:"token"`
}

func (a *Agent) identityPath() string { return filepath.Join(a.cfg.StateDir, "agent.identity") }

// adoptToken decides which token this agent has: the one offered, or, where
// the conductor masks it, the one kept by a former life or configured. What was
// kept is what the conductor gave; what was configured may be out of date.
func (a *Agent) adoptToken(node, offered string) (string, error) {
	switch {
	case offered == ipa.MaskedToken:
		if kept := a.loadIdentity(); kept.Node == node && kept.Token != "" {
			return kept.Token, nil
		}
		if a.cfg.AgentToken != "" {
			return a.cfg.AgentToken, nil
		}
		return "", errNoToken
	case len(offered) >= minToken:
		if err := a.storeIdentity(identity{Node: node, Token: offered}); err != nil {
			a.log.WithError(err).Warn("token not kept: a restart of the agent cannot join again")
		}
		return offered, nil
	}
	return a.cfg.AgentToken, nil
}

func (a *Agent) loadIdentity() identity {
	var kept identity
	data, err := os.ReadFile(a.identityPath())
	if err != nil || json.Unmarshal(data, &kept) != nil {
		return identity{}
	}
	return kept
}

func (a *Agent) storeIdentity(i identity) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return replaceFile(a.identityPath(), data)
}

// replaceFile writes a file that only its owner may read. An agent that is
// killed here finds the former one, or this.
func replaceFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// errNoBootID: the kernel does not tell which boot this is.
var errNoBootID = errors.New("this boot is not known")

// forgetFormerBoot removes what an agent has left in another boot of the
// machine. The directory is in memory, unless somebody has made it otherwise: a
// token, key or list of commands of another boot would be worse than none.
func forgetFormerBoot(c *config.Config) error {
	id, err := os.ReadFile(filepath.Join(c.Proc, "sys/kernel/random/boot_id"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not a kernel but a fixture
	}
	if err != nil || len(id) == 0 {
		return errors.Join(errNoBootID, err)
	}
	path := filepath.Join(c.StateDir, "boot_id")
	former, err := os.ReadFile(path)
	if err == nil && bytes.Equal(former, id) {
		return nil
	}
	left, err := filepath.Glob(filepath.Join(c.StateDir, "agent.*"))
	if err != nil {
		return err
	}
	for _, file := range left {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, id, 0o600)
}

// staticTLS is the TLS side of the server with the certificate of files.
func (a *Agent) staticTLS() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(a.cfg.TLSCertFile, a.cfg.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate to serve (tls_cert_file, tls_key_file): %w", err)
	}
	return a.serverTLS(cert)
}

// serverTLS serves cert with the configured settings. Cipher suites of which
// none is known are a warning: nobody can correct them on a machine that does
// not serve.
func (a *Agent) serverTLS(cert tls.Certificate) (*tls.Config, error) {
	conf, err := server.TLSConfig(cert, a.cfg.TLSMinVersion, a.cfg.TLSCipherSuites)
	if err != nil && a.cfg.TLSCipherSuites != "" {
		a.log.WithError(err).Warn("tls_cipher_suites is ignored")
		conf, err = server.TLSConfig(cert, a.cfg.TLSMinVersion, "")
	}
	if err != nil {
		return nil, fmt.Errorf("TLS settings: %w", err)
	}
	return conf, nil
}

// certificate makes the TLS side of the server and the PEM text to pin.
func (a *Agent) certificate(address netip.Addr) (*tls.Config, string, error) {
	if !address.IsValid() {
		return nil, "", ipa.LookupAgentIP.New("advertise_host %q is not an IP address, which the certificate needs (enable_auto_tls)", a.cfg.AdvertiseHost)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	cert, text, err := server.Certificate(server.CertificateOptions{
		Dir: a.cfg.StateDir, Address: address, Hostname: name, Curve: a.cfg.TLSCertificateCurve,
		ClockSkew: a.cfg.AllowedClockSkew, Now: time.Now(),
	})
	if err != nil {
		return nil, "", err
	}
	conf, err := a.serverTLS(cert)
	return conf, text, err
}
