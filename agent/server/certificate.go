package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// validity of a certificate (agent contract, section "TLS").
const validity = 30 * 24 * time.Hour

// oidSubjectAltName is id-ce-subjectAltName of RFC 5280, section 4.2.1.6.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// CertificateOptions say what goes into a self-signed certificate.
type CertificateOptions struct {
	Dir       string     // where agent.crt and agent.key are kept
	Address   netip.Addr // the address advertised
	Hostname  string
	Curve     string // p256, p384, p521
	ClockSkew time.Duration
	Now       time.Time
}

// Certificate is the agent's own certificate and its PEM text, which the
// conductor pins. One that a former life of this agent left in Dir is used
// again: the conductor takes no other during one boot.
func Certificate(o CertificateOptions) (tls.Certificate, string, error) {
	if cert, text, err := loadCertificate(o); err == nil {
		return cert, text, nil
	}
	cert, text, err := makeCertificate(o)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make certificate for %s: %w", o.Address, err)
	}
	return cert, text, nil
}

func (o CertificateOptions) paths() (cert, key string) {
	return filepath.Join(o.Dir, "agent.crt"), filepath.Join(o.Dir, "agent.key")
}

func loadCertificate(o CertificateOptions) (tls.Certificate, string, error) {
	certPath, keyPath := o.paths()
	text, err := os.ReadFile(certPath)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	cert, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	if err := cert.Leaf.VerifyHostname(o.Address.String()); err != nil {
		return tls.Certificate{}, "", err
	}
	if o.Now.After(cert.Leaf.NotAfter) || o.Now.Before(cert.Leaf.NotBefore) {
		return tls.Certificate{}, "", errors.New("certificate is not valid now")
	}
	return cert, string(text), nil
}

func makeCertificate(o CertificateOptions) (tls.Certificate, string, error) {
	curves := map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}
	curve, ok := curves[strings.ToLower(o.Curve)]
	if !ok {
		return tls.Certificate{}, "", fmt.Errorf("there is no curve %q", o.Curve)
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return tls.Certificate{}, "", err
	}
	san, err := addressName(o.Address)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	name := pkix.Name{CommonName: o.Hostname}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               name,
		Issuer:                name,
		NotBefore:             o.Now.Add(-o.ClockSkew),
		NotAfter:              o.Now.Add(validity),
		SignatureAlgorithm:    x509.ECDSAWithSHA512,
		BasicConstraintsValid: true,
		IsCA:                  true,
		ExtraExtensions:       []pkix.Extension{san},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if err := o.store(certPEM, keyPEM); err != nil {
		return tls.Certificate{}, "", err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	return cert, string(certPEM), err
}

func (o CertificateOptions) store(cert, key []byte) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	certPath, keyPath := o.paths()
	if err := os.WriteFile(keyPath, key, 0o600); err != nil {
		return err
	}
	return os.WriteFile(certPath, cert, 0o644)
}

// addressName is a critical subjectAltName with one IP address. The standard
// library marks the extension critical only where the subject is empty.
func addressName(address netip.Addr) (pkix.Extension, error) {
	const tagIPAddress = 7 // GeneralName iPAddress of RFC 5280
	value, err := asn1.Marshal([]asn1.RawValue{{
		Class: asn1.ClassContextSpecific, Tag: tagIPAddress, Bytes: address.Unmap().AsSlice(),
	}})
	return pkix.Extension{Id: oidSubjectAltName, Critical: true, Value: value}, err
}

// TLSConfig serves cert with the lowest version "1.2" or "1.3". Suites, for
// TLS 1.2 only, are OpenSSL names separated by colons; "" is the contract's
// list.
func TLSConfig(cert tls.Certificate, minVersion, suites string) (*tls.Config, error) {
	c := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	switch minVersion {
	case "", "1.2":
		c.MinVersion = tls.VersionTLS12
	case "1.3":
		c.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("lowest TLS version %q is neither 1.2 nor 1.3", minVersion)
	}
	if suites == "" {
		for _, s := range suitesTLS12 {
			c.CipherSuites = append(c.CipherSuites, s.id)
		}
		return c, nil
	}
	for name := range strings.SplitSeq(suites, ":") {
		for _, s := range suitesTLS12 {
			if s.name == name {
				c.CipherSuites = append(c.CipherSuites, s.id)
			}
		}
	}
	if len(c.CipherSuites) == 0 && c.MinVersion == tls.VersionTLS12 {
		return nil, fmt.Errorf("none of the cipher suites %q is supported", suites)
	}
	return c, nil
}

// suitesTLS12 are the suites of the agent contract, section "TLS", under
// their OpenSSL names.
var suitesTLS12 = []struct {
	name string
	id   uint16
}{
	{"ECDHE-ECDSA-AES256-GCM-SHA384", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	{"ECDHE-RSA-AES256-GCM-SHA384", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	{"ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	{"ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
}
