package plugin

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxKeyFile bounds a file of keys in bytes, maxKeyFiles how many there may be.
const (
	maxKeyFile  = 64 << 10
	maxKeyFiles = 256
)

// keyIDSize is how many bytes of the digest of a key name it.
const keyIDSize = 16

// Keys are the public keys that are trusted, by their ids.
type Keys map[string]ed25519.PublicKey

// KeyID names a key: the beginning of the SHA-256 of its PKIX encoding.
func KeyID(public ed25519.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("id of a key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:keyIDSize]), nil
}

// plainID reports whether id may be that of a key.
func plainID(id string) bool {
	return len(id) == hex.EncodedLen(keyIDSize) && strings.Trim(id, hexDigits) == ""
}

// NewKeys trusts the given keys.
func NewKeys(public ...ed25519.PublicKey) (Keys, error) {
	keys := Keys{}
	for _, key := range public {
		id, err := KeyID(key)
		if err != nil {
			return nil, err
		}
		keys[id] = key
	}
	return keys, nil
}

// IDs of the keys, in order.
func (k Keys) IDs() []string {
	ids := make([]string, 0, len(k))
	for id := range k {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// LoadKeys reads the keys of all files *.pub in dir; a directory that is absent
// has none. The error tells of files that hold no key; the others are trusted.
func LoadKeys(dir string) (Keys, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Keys{}, nil
	}
	if err != nil {
		return Keys{}, fmt.Errorf("trusted keys: %w", err)
	}
	keys := Keys{}
	var faults []error
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".pub" {
			continue
		}
		if len(keys) >= maxKeyFiles {
			faults = append(faults, fmt.Errorf("trusted keys: %s has more than %d", dir, maxKeyFiles))
			break
		}
		found, err := LoadPublicKeys(filepath.Join(dir, e.Name()))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for id, key := range found {
			keys[id] = key
		}
	}
	return keys, errors.Join(faults...)
}

// LoadPublicKeys reads a file with one public key or several (PEM, PKIX).
func LoadPublicKeys(file string) (Keys, error) {
	text, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	keys := Keys{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("public key %s: it holds no public key but a %.80q", file, block.Type)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key %s: %w", file, err)
		}
		key, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("public key %s: it is a %T, not one of ed25519", file, parsed)
		}
		id, err := KeyID(key)
		if err != nil {
			return nil, err
		}
		keys[id] = key
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("public key %s: it holds no PEM block", file)
	}
	return keys, nil
}

// LoadPrivateKey reads the key to sign with (PEM, PKCS #8, not encrypted), as
// GenerateKey and openssl genpkey -algorithm ed25519 make it.
func LoadPrivateKey(file string) (ed25519.PrivateKey, error) {
	text, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("private key %s: it holds no PEM block of the type PRIVATE KEY", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("private key %s: %w", file, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("private key %s: it is a %T, not one of ed25519", file, parsed)
	}
	return key, nil
}

// GenerateKey makes a pair of keys as the texts of their files, and the id.
func GenerateKey() (private, public []byte, id string, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, "", fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, "", fmt.Errorf("encode private key: %w", err)
	}
	if public, err = PublicPEM(pub); err != nil {
		return nil, nil, "", err
	}
	id, err = KeyID(pub)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), public, id, err
}

// PublicPEM is the text of a public key's file.
func PublicPEM(public ed25519.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s has more than %d bytes", file, maxKeyFile)
	}
	return text, nil
}
