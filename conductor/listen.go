package conductor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/restapi"
)

// ListenConfig is where the API listens and how. Sections and options are
// Ironic's but for those in [ferric_api].
type ListenConfig struct {
	// UnixSocket is the path of a socket to listen at instead of address and port.
	UnixSocket string `ini:"api.unix_socket"`
	// UnixSocketMode are its permissions, in octal.
	UnixSocketMode string `ini:"api.unix_socket_mode"`
	// TLS serves the API over TLS, with CertFile and KeyFile. Both are read
	// again when they change.
	TLS      bool   `ini:"api.enable_ssl_api"`
	CertFile string `ini:"ssl.cert_file"`
	KeyFile  string `ini:"ssl.key_file"`
	// CAFile has authorities; with it, clients must have a certificate of theirs,
	// except at the agents' listener.
	CAFile string `ini:"ssl.ca_file"`
	// MinVersion is the lowest version of TLS, 1.2 or 1.3.
	MinVersion string `ini:"api.server_tls_minimum_version"`
	// MaxConnections bounds the connections to each listener.
	MaxConnections int `ini:"ferric_api.max_connections"`
}

func defaultListen() ListenConfig {
	return ListenConfig{MinVersion: "1.2", MaxConnections: 4096}
}

// apiListener is a listener and what it serves.
type apiListener struct {
	net.Listener
	handler http.Handler
}

// listenAPI opens the listeners of the API, all or none.
func listenAPI(cfg Config, s *restapi.Server, log *logrus.Entry) ([]apiListener, error) {
	open := func(address string, handler http.Handler, clients bool) (apiListener, error) {
		var l net.Listener
		var err error
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			l, err = listenUnix(path, cfg.Listen.UnixSocketMode)
		} else {
			l, err = net.Listen("tcp", address)
		}
		if err != nil {
			return apiListener{}, fmt.Errorf("listen for the API: %w", err)
		}
		l = limitConnections(l, cfg.Listen.MaxConnections)
		if cfg.Listen.TLS {
			secure, err := cfg.Listen.tls(clients, log)
			if err != nil {
				l.Close()
				return apiListener{}, err
			}
			l = tls.NewListener(l, secure)
		}
		return apiListener{l, handler}, nil
	}
	address := net.JoinHostPort(cfg.APIHostIP, strconv.Itoa(cfg.APIPort))
	if cfg.Listen.UnixSocket != "" {
		address = "unix:" + cfg.Listen.UnixSocket
	}
	first, err := open(address, s.Handler(), cfg.Listen.CAFile != "")
	if err != nil {
		return nil, err
	}
	if cfg.API.Edge.AgentListen == "" {
		return []apiListener{first}, nil
	}
	second, err := open(cfg.API.Edge.AgentListen, s.AgentHandler(), false)
	if err != nil {
		first.Close()
		return nil, err
	}
	return []apiListener{first, second}, nil
}

// listenUnix replaces a socket that an earlier run has left, but not one that
// somebody listens at.
func listenUnix(path, mode string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s is in use", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil || mode == "" {
		return l, err
	}
	bits, err := strconv.ParseUint(mode, 8, 9)
	if err == nil {
		err = os.Chmod(path, fs.FileMode(bits))
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("[api]unix_socket_mode %q: %w", mode, err)
	}
	return l, nil
}

// tls makes the configuration; clients asks them for certificates.
func (c ListenConfig) tls(clients bool, log *logrus.Entry) (*tls.Config, error) {
	if c.CertFile == "" || c.KeyFile == "" {
		return nil, errors.New("[api]enable_ssl_api needs [ssl]cert_file and [ssl]key_file")
	}
	lowest, ok := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[c.MinVersion]
	if !ok {
		return nil, fmt.Errorf("[api]server_tls_minimum_version is %q, it can be 1.2 and 1.3", c.MinVersion)
	}
	pair := &reloaded{files: []string{c.CertFile, c.KeyFile}, log: log, read: func() (*tls.Config, error) {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: lowest, NextProtos: []string{"http/1.1"}}, err
	}}
	if clients {
		plain := pair.read
		pair.files = append(pair.files, c.CAFile)
		pair.read = func() (*tls.Config, error) {
			config, err := plain()
			if err != nil {
				return nil, err
			}
			text, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, err
			}
			config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
			if !config.ClientCAs.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("%s has no certificate", c.CAFile)
			}
			return config, nil
		}
	}
	if _, err := pair.config(nil); err != nil {
		return nil, fmt.Errorf("[ssl]cert_file, key_file and ca_file: %w", err)
	}
	return &tls.Config{MinVersion: lowest, GetConfigForClient: pair.config, NextProtos: []string{"http/1.1"}}, nil
}

// reloaded is a configuration that is made again when its files have changed.
type reloaded struct {
	files []string
	read  func() (*tls.Config, error)
	log   *logrus.Entry

	mu     sync.Mutex
	stamps []string
	last   *tls.Config
}

// config is called for each connection. When the new files are unusable, as
// they are between the writing of one and the other, the old ones stay.
func (r *reloaded) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var stamps []string
	for _, path := range r.files {
		info, err := os.Stat(path)
		if err != nil {
			stamps = append(stamps, err.Error())
			continue
		}
		stamps = append(stamps, fmt.Sprint(info.ModTime().UnixNano(), info.Size()))
	}
	if r.last != nil && slices.Equal(stamps, r.stamps) {
		return r.last, nil
	}
	config, err := r.read()
	switch {
	case err == nil:
		r.last = config
	case r.last == nil:
		return nil, err
	default:
		r.log.WithError(err).Warn("the API's certificate cannot be read again, the old one stays")
	}
	r.stamps = stamps
	return r.last, nil
}

// limitedListener accepts no connection while there are as many as allowed.
type limitedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limitConnections(l net.Listener, limit int) net.Listener {
	if limit <= 0 {
		return l
	}
	return &limitedListener{Listener: l, places: make(chan struct{}, limit), closed: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Limits of a request on the way in. Bodies of up to 64 MiB come from slow
// links as well.
const (
	headerTimeout  = 10 * time.Second
	readTimeout    = 5 * time.Minute
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	shutdownGrace  = 5 * time.Second
)

// serveAPI serves until ctx ends.
func serveAPI(ctx context.Context, l apiListener) error {
	server := &http.Server{Handler: l.handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	// Serve returns when the shutdown begins; requests in flight are waited for.
	down := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(down)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		_ = server.Shutdown(grace) // what does not end in time is cut by Close
		_ = server.Close()
	})
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	<-down
	return nil
}
