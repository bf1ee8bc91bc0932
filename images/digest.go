package images

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/url"
	"path"
	"strings"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"

	"ferric/images/source"
)

// maxChecksumFile bounds what is read of a checksum file.
const maxChecksumFile = 1 << 20

// expected is a digest that the image has to have.
type expected struct {
	algorithm string
	hex       string // lower case
	new       func() hash.Hash
}

// resolve finds the digest to verify, by the rules of the agent contract
// (section "prepare_image", "Digest selection"). It fetches checksum files.
func (d Digest) resolve(ctx context.Context, req Request) (expected, error) {
	if (d.Algorithm == "") != (d.Value == "") {
		return expected{}, fmt.Errorf("%w: os_hash_algo and os_hash_value belong together", ErrRequest)
	}
	value, algorithm := d.Value, strings.ToLower(d.Algorithm)
	if algorithm != "" && hashes()[algorithm] == nil {
		if d.Checksum == "" {
			return expected{}, fmt.Errorf("%w: digest algorithm %q is not supported", ErrRequest, clip(algorithm))
		}
		value, algorithm = "", ""
	}
	if algorithm == "" {
		value = d.Checksum
	}
	if value == "" {
		return expected{}, fmt.Errorf("%w: no checksum", ErrRequest)
	}
	if isURL(value) {
		var err error
		if value, err = fetchChecksum(ctx, value, req); err != nil {
			return expected{}, err
		}
	}
	value = strings.TrimSpace(value)
	raw, err := hex.DecodeString(value)
	if err != nil {
		return expected{}, fmt.Errorf("%w: checksum %q is not hexadecimal", ErrRequest, clip(value))
	}
	if algorithm == "" {
		algorithm = map[int]string{16: "md5", 32: "sha256", 64: "sha512"}[len(raw)]
	}
	switch {
	case algorithm == "":
		return expected{}, fmt.Errorf("%w: no digest has %d bytes", ErrRequest, len(raw))
	case algorithm == "md5" && !req.AllowMD5:
		return expected{}, fmt.Errorf("%w: md5 checksums are not allowed", ErrRequest)
	}
	return expected{algorithm: algorithm, hex: strings.ToLower(value), new: hashes()[algorithm]}, nil
}

// hashes are the algorithms that os_hash_algo may name.
func hashes() map[string]func() hash.Hash {
	return map[string]func() hash.Hash{
		"md5":      md5.New,
		"sha1":     sha1.New,
		"sha224":   sha256.New224,
		"sha256":   sha256.New,
		"sha384":   sha512.New384,
		"sha512":   sha512.New,
		"sha3_224": func() hash.Hash { return sha3.New224() },
		"sha3_256": func() hash.Hash { return sha3.New256() },
		"sha3_384": func() hash.Hash { return sha3.New384() },
		"sha3_512": func() hash.Hash { return sha3.New512() },
		"blake2b":  func() hash.Hash { return must(blake2b.New512(nil)) },
		"blake2s":  func() hash.Hash { return must(blake2s.New256(nil)) },
	}
}

// must is for constructors that fail on a bad key only, where there is none.
func must(h hash.Hash, err error) hash.Hash {
	if err != nil {
		panic(err)
	}
	return h
}

// verify compares what was served with what was expected.
func (e expected) verify(sum hash.Hash) (string, error) {
	got := hex.EncodeToString(sum.Sum(nil))
	if got != e.hex {
		return got, fmt.Errorf("%w: %s is %s, expected %s", ErrChecksum, e.algorithm, got, e.hex)
	}
	return got, nil
}

func isURL(s string) bool {
	lower := strings.ToLower(s)
	return strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://")
}

func fetchChecksum(ctx context.Context, u string, req Request) (string, error) {
	f, err := source.Open(ctx, source.Config{URLs: []string{u}, Header: req.Header, Client: req.Client, Retry: req.Retry})
	if err != nil {
		return "", fmt.Errorf("checksum file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxChecksumFile+1))
	if err != nil {
		return "", fmt.Errorf("checksum file: %w", err)
	}
	if len(text) > maxChecksumFile {
		return "", fmt.Errorf("%w: checksum file %s is larger than %d bytes", ErrDownload, source.Redact(u), maxChecksumFile)
	}
	name := ""
	if len(req.URLs) > 0 {
		if parsed, err := url.Parse(req.URLs[0]); err == nil {
			name = path.Base(parsed.Path)
		}
	}
	sum, ok := findChecksum(text, name)
	if !ok {
		return "", fmt.Errorf("%w: checksum file %s has no checksum for %q", ErrDownload, source.Redact(u), clip(name))
	}
	return sum, nil
}

// findChecksum finds the digest of the file called name in the text of a
// checksum file: one digest alone, lines "<hex> [ *]name", or lines
// "ALGORITHM (name) = <hex>".
func findChecksum(text []byte, name string) (string, bool) {
	if fields := bytes.Fields(text); len(fields) == 1 {
		return string(fields[0]), isDigest(string(fields[0]))
	}
	if name == "" {
		return "", false
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxChecksumFile+1)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "#") {
			continue
		}
		if !strings.HasSuffix(line, " "+name) && !strings.HasSuffix(line, " *"+name) && !strings.Contains(line, " ("+name+") ") {
			continue
		}
		fields := strings.Fields(line)
		for _, f := range []string{fields[0], fields[len(fields)-1]} {
			if isDigest(f) {
				return f, true
			}
		}
	}
	return "", false
}

func isDigest(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && (len(raw) == 16 || len(raw) == 32 || len(raw) == 64)
}

// clip shortens foreign text for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
