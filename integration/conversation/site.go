package conversation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/netboot"
	"ferric/integration/lab"
	"ferric/ramdisk"
)

// Where the machine finds the API and the images.
const (
	apiPort   = 6385
	imagePort = 8080
)

// SiteOptions say what machine to have and how it is told of its conductor.
type SiteOptions struct {
	Release    Release
	RamdiskDir string         // what `ferric ramdisk build` made
	Node       lab.NodeConfig // its Direct is set here
	// Params are further kernel parameters, in which %s stands for the URL of the API. Those that the conductor gives
	// come first: of a repeated one the last counts.
	Params string
	// ImageDir is served by HTTP, see [Site.ImageURL]; "" is none.
	ImageDir string
	// CA makes the API one of https with a certificate of this authority.
	CA *Authority
}

// Site is a rack of one machine, a network with DHCP, and a conductor.
type Site struct {
	*Conductor
	Rack    *lab.Rack
	Machine *lab.Node
	URL     string // of the API

	dir     string
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	failed  []error
}

// Open builds the site; its machine is off. It works within [lab.Run] only.
func Open(ctx context.Context, o SiteOptions) (_ *Site, err error) {
	manifest, err := ramdisk.ReadManifest(o.RamdiskDir)
	if err != nil {
		return nil, err
	}
	// The sockets of a rack need a short path.
	dir, err := os.MkdirTemp("", "wire")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Site{dir: dir, stop: stop}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	scheme := "http"
	if o.CA != nil {
		scheme = "https"
	}
	s.URL = fmt.Sprintf("%s://%s:%d", scheme, lab.Address, apiPort)
	o.Node.Direct = &lab.Direct{
		Kernel: filepath.Join(o.RamdiskDir, manifest.Kernel.Path), Initramfs: filepath.Join(o.RamdiskDir, manifest.Initramfs.Path),
		// The template of Ironic's PXE, with the console of the rack.
		Params: strings.Join(strings.Fields("selinux=0 troubleshoot=0 text nofb vga=normal console=ttyS0 no_timer_check panic=5 ipa-api-url="+s.URL+" "+strings.ReplaceAll(o.Params, "%s", s.URL)), " "),
	}
	if s.Rack, err = lab.Up(ctx, lab.Config{Dir: dir, Accel: "tcg", Nodes: []lab.NodeConfig{o.Node}}); err != nil {
		return nil, err
	}
	s.Machine = s.Rack.Nodes[0]
	if s.Conductor, err = New(o.Release, s.Machine.Config.MAC); err != nil {
		return nil, err
	}
	if err = s.serveDHCP(ctx); err != nil {
		return nil, err
	}
	var conf *tls.Config
	if o.CA != nil {
		if conf, err = o.CA.Server(net.ParseIP(lab.Address)); err != nil {
			return nil, err
		}
	}
	if err = s.serveHTTP(ctx, apiPort, s.Conductor, conf); err != nil {
		return nil, err
	}
	if o.ImageDir != "" {
		err = s.serveHTTP(ctx, imagePort, http.FileServer(http.Dir(o.ImageDir)), nil)
	}
	return s, err
}

// nobody is the directory of a DHCP server that gives addresses and nothing to boot.
type nobody struct{}

func (nobody) Machine(context.Context, net.HardwareAddr) (netboot.Machine, error) {
	return netboot.Machine{}, netboot.ErrUnknownMAC
}

func (s *Site) serveDHCP(ctx context.Context) error {
	config := netboot.DefaultConfig()
	config.Interface, config.DHCP, config.AnswerUnknown = lab.Bridge, netboot.DHCPFull, true
	config.RangeBegin, config.RangeEnd, config.Router = "192.168.77.100", "192.168.77.199", lab.Address
	config.TFTPPort, config.HTTPListen = 0, ""
	config.HTTPURL = fmt.Sprintf("http://%s:%d", lab.Address, imagePort)
	log := logrus.New()
	log.SetOutput(io.Discard)
	server, err := netboot.New(config, nobody{}, nil, logrus.NewEntry(log))
	if err != nil {
		return err
	}
	s.background(func() error { return server.Run(ctx) })
	return nil
}

// serveHTTP serves until the site is closed.
func (s *Site) serveHTTP(ctx context.Context, port int, handler http.Handler, conf *tls.Config) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	s.background(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// background runs f until the site is closed; its error is that of Close.
func (s *Site) background(f func() error) {
	s.running.Go(func() {
		if err := f(); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.failed = append(s.failed, err)
		}
	})
}

// ImageURL is where the machine fetches a file of the image directory.
func (s *Site) ImageURL(path string) string {
	return fmt.Sprintf("http://%s:%d/%s", lab.Address, imagePort, filepath.Base(path))
}

// Close ends all that the site started and removes its files.
func (s *Site) Close() error {
	s.stop()
	var err error
	if s.Rack != nil {
		err = s.Rack.Close()
	}
	s.running.Wait()
	return errors.Join(append(s.failed, err, os.RemoveAll(s.dir))...)
}
