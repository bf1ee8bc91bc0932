package hwmanager

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/images/source"
)

// Source is a file on a server.
type Source struct {
	URL string // http or https
	// Checksum is that of the file: "sha256:…", "sha512:…", or the bare
	// hexadecimal digits of one of them. There is no download without it.
	Checksum string
	// MaxSize bounds the file in bytes; 0 is a GiB. It is in memory.
	MaxSize int64
	// Progress, if set, is told at most once a second how far it is; that of a
	// StepCall fits.
	Progress func(ipa.Progress)
}

// Downloaded is a file that has been verified.
type Downloaded struct {
	Path string // its name is that in the URL
	Size int64
	dir  string
}

// Close removes the file.
func (d *Downloaded) Close() error { return os.RemoveAll(d.dir) }

const (
	defaultDownload = 1 << 30
	progressEvery   = time.Second
	memoryReserve   = 64 << 20 // what a download leaves to everybody else
)

// Download fetches a file and verifies it before anybody sees it. Certificates,
// credentials of the image server, time limits and tries are those that the
// agent is configured with for images; a connection that breaks is resumed. The
// file lies in memory: close it soon. Errors are of the kinds
// ipa.InvalidCommandParams, ipa.ImageDownload, ipa.ImageDownloadOutOfSpace,
// ipa.ImageDownloadTimeout and ipa.ImageChecksum.
func (h *Host) Download(ctx context.Context, s Source) (*Downloaded, error) {
	parsed, err := url.Parse(s.URL)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, ipa.InvalidCommandParams.New("%.256s is not an http or https URL", source.Redact(s.URL))
	}
	algorithm, want, err := parseChecksum(s.Checksum)
	if err != nil {
		return nil, ipa.InvalidCommandParams.New("checksum of %s: %v", source.Redact(s.URL), err)
	}
	if most := h.Settings.MaxDownload; most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most, ipa.ImageDownloadTimeout.New("%s took more than %s", source.Redact(s.URL), most))
		defer cancel()
	}
	file, err := h.open(ctx, s.URL, parsed.User != nil)
	if err != nil {
		return nil, downloadError(ctx, err)
	}
	defer file.Close()
	most := cmp.Or(s.MaxSize, defaultDownload)
	if file.Size() > most {
		return nil, ipa.ImageDownload.New("%s has %d bytes, more than the %d that are allowed", file.URL(), file.Size(), most)
	}
	if free := h.freeMemory(); free > 0 && file.Size() > free-memoryReserve {
		return nil, ipa.ImageDownloadOutOfSpace.New("%s has %d bytes, and only %d of memory are free", file.URL(), file.Size(), free)
	}
	dir, err := os.MkdirTemp(memoryDir(), "ferric-download-")
	if err != nil {
		return nil, ipa.ImageDownload.New("place for %s: %v", file.URL(), err)
	}
	d := &Downloaded{Path: filepath.Join(dir, fileName(parsed)), dir: dir}
	sum := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}[algorithm]()
	if d.Size, err = save(filepath.Join(dir, ".unverified"), file, sum, most, s.Progress); err == nil {
		if got := sum.Sum(nil); !bytes.Equal(got, want) {
			err = ipa.ImageChecksum.New("%s of %s is %x, expected %x", algorithm, file.URL(), got, want)
		}
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, ".unverified"), d.Path)
	}
	if err != nil {
		return nil, errors.Join(downloadError(ctx, err), d.Close())
	}
	return d, nil
}

// parseChecksum is the algorithm and the digest that a checksum names.
func parseChecksum(text string) (algorithm string, digest []byte, err error) {
	sizes := map[string]int{"sha256": sha256.Size, "sha512": sha512.Size}
	algorithm, digits, named := strings.Cut(strings.TrimSpace(text), ":")
	algorithm = strings.ToLower(algorithm)
	if !named {
		algorithm, digits = "sha256", strings.TrimSpace(text)
		if len(digits) == 2*sha512.Size {
			algorithm = "sha512"
		}
	}
	if text == "" {
		return "", nil, errors.New("there is none, and no file is taken without")
	}
	if sizes[algorithm] == 0 {
		return "", nil, fmt.Errorf("%q is neither sha256 nor sha512", clip(algorithm))
	}
	digest, err = hex.DecodeString(strings.TrimSpace(digits))
	if err != nil || len(digest) != sizes[algorithm] {
		return "", nil, fmt.Errorf("%q is not a %s digest of %d hexadecimal digits", clip(digits), algorithm, 2*sizes[algorithm])
	}
	return algorithm, digest, nil
}

// open asks for the file. What the URL says of credentials comes first.
func (h *Host) open(ctx context.Context, u string, credentials bool) (*source.File, error) {
	client, err := h.Settings.HTTPClient()
	if err != nil {
		return nil, err
	}
	c := source.Config{URLs: []string{u}, Header: http.Header{}, Client: client, Retry: source.Retry{
		Retries: h.Settings.ConnectRetries, Interval: h.Settings.ConnectRetryInterval, Idle: h.Settings.ConnectTimeout,
	}}
	if h.Settings.ConnectRetries == 0 {
		c.Retry.Retries = -1 // zero would mean the default
	}
	if server := h.Settings.ImageServer; server.AuthStrategy == "http_basic" && !credentials {
		request := http.Request{Header: c.Header}
		request.SetBasicAuth(server.User, server.Password)
	}
	if h.Settings.GlobalRequestID != "" {
		c.Header.Set("X-OpenStack-Request-ID", h.Settings.GlobalRequestID)
	}
	return source.Open(ctx, c)
}

// HTTPClient makes a client for image servers: it trusts and shows the
// certificates that the agent is configured with. It has no time limit.
func (s Settings) HTTPClient() (*http.Client, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the default HTTP transport was replaced")
	}
	transport := base.Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: s.Insecure}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", s.CAFile)
		}
	}
	if s.CertFile != "" && s.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: transport}, nil
}

// save writes the file and sums it up.
func save(path string, file *source.File, sum hash.Hash, most int64, progress func(ipa.Progress)) (int64, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	begun, told := time.Now(), time.Now()
	tell := func(finished bool) {
		if progress == nil || !finished && time.Since(told) < progressEvery {
			return
		}
		told = time.Now()
		p := ipa.Progress{Phase: "downloading", Done: file.Done(), Total: max(file.Size(), 0), SecondsLeft: -1, Finished: finished}
		if took := time.Since(begun).Seconds(); took > 0 {
			p.BytesPerSec = float64(p.Done) / took
		}
		if p.BytesPerSec > 0 && p.Total > 0 {
			p.SecondsLeft = float64(p.Total-p.Done) / p.BytesPerSec
		}
		progress(p)
	}
	into := io.MultiWriter(f, sum)
	buffer := make([]byte, 256<<10)
	for size := int64(0); ; {
		n, err := file.Read(buffer)
		if size += int64(n); size > most {
			return size, ipa.ImageDownload.New("%s has more than the %d bytes that are allowed", file.URL(), most)
		}
		if _, werr := into.Write(buffer[:n]); werr != nil {
			return size, werr
		}
		if errors.Is(err, io.EOF) {
			tell(true)
			return size, f.Close()
		}
		if err != nil {
			return size, err
		}
		tell(false)
	}
}

// downloadError is err as an error of the protocol.
func downloadError(ctx context.Context, err error) error {
	var known *ipa.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(context.Cause(ctx), &known): // the time limit
		return known
	case ctx.Err() != nil:
		return fmt.Errorf("download: %w", err)
	case errors.Is(err, unix.ENOSPC):
		return ipa.ImageDownloadOutOfSpace.New("%v", err)
	}
	return ipa.ImageDownload.New("%v", err)
}

// fileName is the last part of a URL, for tools that go by its end.
func fileName(u *url.URL) string {
	name := path.Base(u.Path)
	if !filepath.IsLocal(name) || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "\x00/") || len(name) > 200 {
		return "download"
	}
	return name
}

// memoryDir is a directory whose files are in memory. Everything is, in a ramdisk.
func memoryDir() string {
	for _, dir := range []string{"/run", "/dev/shm"} {
		var stat unix.Statfs_t
		if unix.Statfs(dir, &stat) == nil && (stat.Type == unix.TMPFS_MAGIC || stat.Type == unix.RAMFS_MAGIC) && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return os.TempDir()
}

// freeMemory in bytes; 0 if it is not known.
func (h *Host) freeMemory() int64 {
	f, err := os.Open(filepath.Join(h.Proc, "meminfo"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, found := strings.CutPrefix(lines.Text(), "MemAvailable:")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return kib << 10
	}
	return 0
}
