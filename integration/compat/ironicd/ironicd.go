// Package ironicd runs a real Ironic, one of other people's making, in a
// virtual rack: as one process (API and conductor), with SQLite, without
// authentication and without a message bus, on the rack's own address. It is
// told to drive machines by IPMI (ipmitool), iPXE and the direct deploy
// interface. The segment on which they boot has dnsmasq for DHCP and TFTP, and
// an HTTP server for what Ironic lays out (http_root), the agent's ramdisk and
// the images. Nothing of this is installed here (integration/setup/ironic.sh
// does), all files are in the rack's directory, and all processes end with the
// rack at the latest. Ironic itself never touches a disk: its image cache is
// off (image_download_source = http), so the host lends it only a directory.
package ironicd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/integration/lab"
	"ferric/ramdisk"
)

const (
	apiPort   = 6385
	agentPort = 6386
	httpPort  = 8080

	// Python needs some seconds for Ironic's modules, more on a busy host.
	startLimit = 3 * time.Minute
	toolLimit  = 2 * time.Minute
)

// Options of an Ironic.
type Options struct {
	Python     string // the interpreter that finds Ironic
	RamdiskDir string // what `ferric ramdisk build` made
	ImageDir   string // served as ImageURL
	Config     string // further lines of ironic.conf: sections may come again, the last value of an option counts
}

// Ironic is a running one.
type Ironic struct {
	API     *client.Client
	Release string         // of the package, "21.4.4"
	Version ironic.Version // the newest of its API
	Dir     string         // of its files
	Took    time.Duration  // from the start of the process until it had its drivers
	Stalled chan struct{}  // gets a value when a machine has got its half from StallingURL

	options Options
	kernel  ramdisk.Part
	initrd  ramdisk.Part
	process *lab.Process
	server  *http.Server
	gate    *gate
}

// -B, with which all programs are run, keeps Python from writing beside its
// modules.

// program runs one of Ironic's programs (its name is the first argument) by
// the metadata of the package, which works alike with every release and also
// where the distribution has the modules in one package and the programs in
// others, which bring along services.
const program = `import sys
from importlib.metadata import entry_points
(entry,) = {e.value: e for e in entry_points(group="console_scripts", name=sys.argv[1])}.values()
del sys.argv[1]
sys.exit(entry.load()())
`

// Release asks which Ironic the interpreter finds.
func Release(ctx context.Context, python string) (string, error) {
	out, err := run(ctx, python, "-B", "-c", `import importlib.metadata as m; print(m.version("ironic"))`)
	return strings.TrimSpace(out), err
}

// Start starts Ironic and what its machines boot from, and waits until the
// conductor has its drivers.
func Start(ctx context.Context, rack *lab.Rack, o Options) (_ *Ironic, err error) {
	manifest, err := ramdisk.ReadManifest(o.RamdiskDir)
	if err != nil {
		return nil, err
	}
	i := &Ironic{options: o, Stalled: make(chan struct{}, 1), Dir: filepath.Join(rack.Dir, "ironic"), kernel: manifest.Kernel, initrd: manifest.Initramfs}
	if i.Release, err = Release(ctx, o.Python); err != nil {
		return nil, err
	}
	if err := i.layOut(); err != nil {
		return nil, fmt.Errorf("set Ironic %s up: %w", i.Release, err)
	}
	if _, err := run(ctx, o.Python, "-B", "-c", program, "ironic-dbsync", "--config-file", i.configPath(), "create_schema"); err != nil {
		return nil, fmt.Errorf("make the database of Ironic %s: %w", i.Release, err)
	}
	if err := i.serveFiles(); err != nil {
		return nil, err
	}
	if i.gate, err = openGate(i.URL()); err != nil {
		return nil, errors.Join(err, i.server.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.Close())
		}
	}()
	// Both end with the rack, not with the context of this call.
	lasting := context.WithoutCancel(ctx)
	if _, err := rack.StartProcess(lasting, "dnsmasq", dnsmasq(i.Dir)...); err != nil {
		return nil, err
	}
	begin := time.Now()
	if i.process, err = rack.StartProcess(lasting, "ironic", o.Python, "-B", "-c", program, "ironic", "--config-file", i.configPath()); err != nil {
		return nil, err
	}
	if err := i.waitUp(ctx); err != nil {
		return nil, err
	}
	i.Took = time.Since(begin)
	return i, nil
}

// waitUp waits for the API, and then for the conductor's drivers.
func (i *Ironic) waitUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var err error
	if i.API, err = client.New(i.URL(), nil); err != nil {
		return err
	}
	for {
		var drivers []ironic.Driver
		if i.Version, err = i.API.Version(ctx); err == nil {
			drivers, err = i.API.Drivers(ctx)
		}
		if len(drivers) > 0 {
			return nil
		}
		select {
		case <-i.process.Done():
			return fmt.Errorf("Ironic %s ended at once, see %s", i.Release, i.LogPath())
		case <-ctx.Done():
			return fmt.Errorf("Ironic %s is not up, see %s: %w", i.Release, i.LogPath(), errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// URL is where the API is.
func (i *Ironic) URL() string { return fmt.Sprintf("http://%s:%d", lab.Address, apiPort) }

// LogPath is the file that has Ironic's log.
func (i *Ironic) LogPath() string { return i.process.LogPath }

// LogDir is where Ironic puts the logs that it collects from ramdisks.
func (i *Ironic) LogDir() string { return filepath.Join(i.Dir, "logs") }

// Asked is what agents have asked of the API so far, as "GET /v1/lookup".
func (i *Ironic) Asked() []string { return i.gate.seen() }

// Close ends Ironic and its HTTP servers; dnsmasq ends with the rack.
func (i *Ironic) Close() error {
	var err error
	if i.process != nil {
		err = i.process.Stop()
	}
	return errors.Join(err, i.server.Close(), i.gate.server.Close())
}

// Major is the first number of the release.
func (i *Ironic) Major() int { return major(i.Release) }

func major(release string) int {
	text, _, _ := strings.Cut(release, ".")
	n, _ := strconv.Atoi(text) // 0, older than all, if it is no number
	return n
}

// KernelURL is where Ironic fetches the agent's kernel.
func (i *Ironic) KernelURL() string { return httpURL + ramdiskPath + i.kernel.Path }

// RamdiskURL is where it fetches the agent's initramfs.
func (i *Ironic) RamdiskURL() string { return httpURL + ramdiskPath + i.initrd.Path }

// run runs a tool to its end and returns what it printed.
func run(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, lastLines(stderr.String()))
	}
	return string(out), nil
}

// lastLines cuts a long complaint down to its end, where Python tells what it is about.
func lastLines(text string) string {
	const most = 2000
	text = strings.TrimSpace(text)
	return text[max(0, len(text)-most):]
}
