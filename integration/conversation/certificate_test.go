package conversation_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"testing"
	"time"

	"ferric/integration/conversation"
)

// pinned checks the certificate that came with the heartbeats (agent contract 1.6).
func pinned(t *testing.T, s *conversation.Site) {
	t.Helper()
	beat := s.Beat()
	block, rest := pem.Decode([]byte(beat.AgentVerifyCA))
	if block == nil || len(rest) > 0 {
		t.Fatalf("agent_verify_ca is not one certificate: %q", beat.AgentVerifyCA)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	callback, err := url.Parse(beat.CallbackURL)
	must(t, err)
	key, _ := c.PublicKey.(*ecdsa.PublicKey)
	if key == nil || key.Curve.Params().Name != "P-384" || c.SignatureAlgorithm != x509.ECDSAWithSHA512 {
		t.Errorf("certificate: key %T, signature %s; want P-384 and SHA-512", c.PublicKey, c.SignatureAlgorithm)
	}
	if c.Subject.CommonName == "" || c.Subject.String() != c.Issuer.String() {
		t.Errorf("certificate: subject %q, issuer %q; want both the host's name", c.Subject, c.Issuer)
	}
	subjectAltName := []int{2, 5, 29, 17}
	critical := false
	for _, e := range c.Extensions {
		critical = critical || slices.Equal(e.Id, subjectAltName) && e.Critical
	}
	if len(c.IPAddresses) != 1 || c.IPAddresses[0].String() != callback.Hostname() || !critical {
		t.Errorf("certificate: addresses %v, critical %v; want %s, critical", c.IPAddresses, critical, callback.Hostname())
	}
	// The agent allows for clocks that are an hour apart.
	if early := time.Since(c.NotBefore); early < 55*time.Minute || early > 70*time.Minute {
		t.Errorf("certificate: valid since %s ago; want an hour", early)
	}
	if life := time.Until(c.NotAfter); life < 29*24*time.Hour || life > 31*24*time.Hour {
		t.Errorf("certificate: valid for %s; want 30 days", life)
	}
}
