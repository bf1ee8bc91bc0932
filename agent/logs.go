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
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// Bounds of the time that logs take: one program, and all of the archive; a
// conductor waits 60 s for an answer.
const (
	programTime = 10 * time.Second
	archiveTime = 45 * time.Second
)

// member is a part of the archive that a program writes; where that is not
// installed, native (optional) tells the same from the kernel's files.
type member struct {
	name   string
	argv   []string
	native func(a *Agent) ([]byte, error)
}

// members are those of the agent contract, section "Logs"; the kernel ring,
// mounts and arrays are read without a program.
func members() []member {
	return []member{
		{"ip_addr", []string{"ip", "addr"}, (*Agent).interfaceList},
		{"ip_route", []string{"ip", "route"}, nil},
		{"iptables", []string{"iptables", "-L", "-n", "-v"}, nil},
		{"ps", []string{"ps", "au"}, (*Agent).processList},
		{"lsblk", []string{"lsblk", "-bia"}, (*Agent).blockDeviceList},
		{"lsblk-full", []string{"lsblk", "-biaO", "--json"}, nil},
		{"df", []string{"df", "-a"}, (*Agent).fileSystemList},
		{"multipath", []string{"multipath", "-ll"}, nil},
		{"parted", []string{"parted", "-l", "-s"}, nil},
		{"efibootmgr", []string{"efibootmgr", "-v"}, (*Agent).bootVariables},
		{"lshw", []string{"lshw", "-quiet", "-json"}, nil},
	}
}

// logFiles are members read from files: those of procfs, and the record of
// what went before the agent in our ramdisk.
func (a *Agent) logFiles() map[string]string {
	return map[string]string{
		"mount":    filepath.Join(a.host.Proc, "mounts"),
		"mdstat":   filepath.Join(a.host.Proc, "mdstat"),
		"boot.log": bootLog,
	}
}

// bootLog is written by the ramdisk's init.
const bootLog = "/var/log/boot.log"

// journalLines bounds what is taken of a journal of systemd.
const journalLines = "10000"

// collectLogs answers with a gzipped tar archive in base64.
func (a *Agent) collectLogs(ctx context.Context, _ params, _ progress) (any, error) {
	logs, err := a.systemLogs(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"system_logs": logs}, nil
}

// systemLogs is the archive of all logs, a tar.gz in base64.
func (a *Agent) systemLogs(ctx context.Context) (string, error) {
	var packed bytes.Buffer
	if err := a.writeLogs(ctx, &packed); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}

// writeLogs writes the archive of all logs, a tar.gz. It changes nothing and
// may run beside a command. What cannot be had is missing or says why.
func (a *Agent) writeLogs(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTime)
	defer cancel()
	archive := newArchive(w, a.secrets())
	add := func(name string, data []byte) error { return archive.add(name, bytes.NewReader(data)) }

	// The journal is the distribution's, if there is one. The agent's own log
	// may be missing there.
	own := a.journal.contents()
	journal, err := a.output(ctx, "journalctl", "--full", "--no-pager", "-n", journalLines)
	if err != nil {
		journal = own
	}
	journal = journal[max(0, len(journal)-memberLimit):] // the end tells most
	err = errors.Join(add("journal", journal), add("ferric-agent.log", own))
	if err := errors.Join(err, add("dmesg", kernelLog()), a.addInventory(ctx, archive)); err != nil {
		return err
	}
	for _, m := range members() {
		output, err := a.output(ctx, m.argv[0], m.argv[1:]...)
		if hwmanager.NoProgram(err) {
			if m.native == nil {
				continue
			}
			output, err = m.native(a)
		}
		if err != nil {
			output = fmt.Appendf(output, "\n%v\n", err)
		}
		if err := add(m.name, output); err != nil {
			return err
		}
	}
	if err := a.addFiles(archive); err != nil {
		return err
	}
	var failed []error // of those whose logs are missing; the others' are not
	_, err = hwmanager.All(a.set, "collect_system_logs", func(s hwmanager.LogSource) (any, error) {
		if err := s.Logs(ctx, a.host, archive.add); err != nil && !errors.Is(err, hwmanager.ErrNotHandled) {
			failed = append(failed, err)
		}
		return nil, nil
	})
	if !ipa.MethodNotFound.Is(err) {
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		if err := add("hardware-managers", []byte(err.Error())); err != nil {
			return err
		}
	}
	return archive.close()
}

// output runs a program that does not take long.
func (a *Agent) output(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	return a.host.Run.Run(ctx, program, args...)
}

// addFiles puts the files of logFiles and udev's records into the archive.
func (a *Agent) addFiles(archive *archive) error {
	files := a.logFiles()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := os.Open(files[name])
		if err != nil {
			continue // not everywhere
		}
		err = archive.add(name, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	for name, record := range a.udevRecords() {
		if err := archive.add("udev/"+name, bytes.NewReader(record)); err != nil {
			return err
		}
	}
	return nil
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

// add puts a member into the archive, cut off at the limits, or what could be
// read of it and why not all.
func (a *archive) add(name string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, min(memberLimit, totalLimit-a.total)))
	if err != nil {
		data = fmt.Appendf(data, "\n%v\n", err)
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
