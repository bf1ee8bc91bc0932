package agent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Bounds of the logs in bytes: what is kept of the agent's own, of one member
// of the archive, and of all members.
const (
	journalSize = 256 << 10
	memberLimit = 1 << 20
	totalLimit  = 8 << 20
)

// programTime bounds one program whose output goes into the archive.
const programTime = 10 * time.Second

// logPrograms are run for the archive; those that are missing are left out.
var logPrograms = []struct {
	member string
	argv   []string
}{
	{"ip_addr", []string{"ip", "addr"}},
	{"ip_route", []string{"ip", "route"}},
	{"ps", []string{"ps"}},
	{"lsblk", []string{"lsblk", "-bia"}},
	{"df", []string{"df"}},
	{"efibootmgr", []string{"efibootmgr", "-v"}},
	{"lshw", []string{"lshw", "-quiet", "-json"}},
}

// collectLogs answers with a gzipped tar archive in base64.
func (a *Agent) collectLogs(ctx context.Context, _ params, _ progress) (any, error) {
	var packed bytes.Buffer
	archive := newArchive(&packed, a.secrets())
	if err := archive.add("journal", bytes.NewReader(a.journal.contents())); err != nil {
		return nil, err
	}
	if err := archive.add("dmesg", bytes.NewReader(kernelLog())); err != nil {
		return nil, err
	}
	if err := a.addInventory(ctx, archive); err != nil {
		return nil, err
	}
	for _, program := range logPrograms {
		limited, cancel := context.WithTimeout(ctx, programTime)
		output, err := a.host.Run.Run(limited, program.argv[0], program.argv[1:]...)
		cancel()
		if hwmanager.NoProgram(err) {
			continue
		}
		if err != nil {
			output = fmt.Appendf(output, "\n%v\n", err)
		}
		if err := archive.add(program.member, bytes.NewReader(output)); err != nil {
			return nil, err
		}
	}
	_, err := hwmanager.All(a.set, "collect_system_logs", func(s hwmanager.LogSource) (any, error) {
		return nil, s.Logs(ctx, a.host, archive.add)
	})
	if err != nil && !ipa.MethodNotFound.Is(err) {
		return nil, err
	}
	if err := archive.close(); err != nil {
		return nil, err
	}
	return map[string]string{"system_logs": base64.StdEncoding.EncodeToString(packed.Bytes())}, nil
}

func (a *Agent) addInventory(ctx context.Context, archive *archive) error {
	info, err := a.hardwareInfo(ctx, nil, nil)
	if err != nil {
		return archive.add("inventory", bytes.NewReader([]byte(err.Error())))
	}
	encoded, err := json.MarshalIndent(info, "", " ")
	if err != nil {
		return fmt.Errorf("encode inventory: %w", err)
	}
	return archive.add("inventory", bytes.NewReader(encoded))
}

// kernelLog is what dmesg prints, as far as this process may read it.
func kernelLog() []byte {
	const readAll = 3 // SYSLOG_ACTION_READ_ALL, see syslog(2)
	buf := make([]byte, memberLimit)
	n, err := unix.Klogctl(readAll, buf)
	if err != nil {
		return []byte(err.Error())
	}
	return buf[:n]
}

// archive is a tar.gz with bounded members, secrets masked.
type archive struct {
	gzip    *gzip.Writer
	tar     *tar.Writer
	total   int64
	secrets []string
}

func newArchive(w io.Writer, secrets []string) *archive {
	g := gzip.NewWriter(w)
	return &archive{gzip: g, tar: tar.NewWriter(g), secrets: secrets}
}

// add puts a member into the archive, cut off at the limits.
func (a *archive) add(name string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, min(memberLimit, totalLimit-a.total)))
	if err != nil {
		return fmt.Errorf("log %s: %w", name, err)
	}
	a.total += int64(len(data))
	for _, secret := range a.secrets {
		data = bytes.ReplaceAll(data, []byte(secret), []byte("***"))
	}
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: time.Now(), Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("log %s: %w", name, err)
	}
	if _, err := a.tar.Write(data); err != nil {
		return fmt.Errorf("log %s: %w", name, err)
	}
	return nil
}

func (a *archive) close() error { return errors.Join(a.tar.Close(), a.gzip.Close()) }

// ring keeps the end of what is written to it.
type ring struct {
	mu   sync.Mutex
	size int
	data []byte
}

func newRing(size int) *ring { return &ring{size: size} }

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data = append(r.data, p...)
	// Cut rarely: half of twice the size is moved at a time.
	if len(r.data) > 2*r.size {
		r.data = append(r.data[:0], r.data[len(r.data)-r.size:]...)
	}
	return len(p), nil
}

func (r *ring) contents() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.data[max(0, len(r.data)-r.size):])
}
