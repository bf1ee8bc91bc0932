package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// HTTPHandler serves, below /: boot.ipxe, pxelinux.cfg/<mac> (the script of the
// machine), <node uuid>/deploy_kernel, deploy_ramdisk and boot_iso, the boot loaders, and
// the files of http_root. GET and HEAD, with Range. It may be mounted elsewhere
// if http_url says so.
func (s *Server) HTTPHandler() http.Handler { return s.http }

func (s *Server) routes() http.Handler {
	scripts := parseScripts()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, r.Method+" is not served here: only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		switch {
		case first == "boot.ipxe" && rest == "":
			text, err := scripts.boot(s.IPXEFallbackScript)
			s.sendScript(w, text, err)
		case first == "pxelinux.cfg":
			s.machineScript(w, r, scripts, rest)
		case rest == "deploy_kernel":
			s.machineFile(w, r, first, EventKernel, EventKernelSent, func(m Machine) string { return m.Kernel })
		case rest == "deploy_ramdisk":
			s.machineFile(w, r, first, EventRamdisk, EventRamdiskSent, func(m Machine) string { return m.Ramdisk })
		case rest == "boot_iso":
			s.machineFile(w, r, first, EventRamdisk, EventRamdiskSent, func(m Machine) string { return m.ISO })
		default:
			s.rootFile(w, r)
		}
	})
}

func (s *Server) rootFile(w http.ResponseWriter, r *http.Request) {
	file, err := s.files.openHTTP(r.URL.Path)
	if err != nil {
		httpError(w, err)
		return
	}
	defer file.Close()
	s.sendFile(w, r, file)
}

// machineScript answers a machine that asks by one of its MAC addresses what to do.
func (s *Server) machineScript(w http.ResponseWriter, r *http.Request, scripts scripts, name string) {
	mac, err := parseMAC(name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	m, err := s.machine(r.Context(), mac)
	if err == nil && m.Action == Ignore {
		err = fmt.Errorf("the port %v does not boot from the network: %w", mac, fs.ErrNotExist)
	}
	if err != nil {
		httpError(w, err)
		return
	}
	text, err := scripts.machine(m, s.httpURL, hexhyp(mac), s.IPXETimeout)
	switch {
	case err != nil:
		s.emit(EventError, m.NodeUUID, mac.String(), err.Error())
	case r.Method == http.MethodGet:
		s.emit(EventScript, m.NodeUUID, mac.String(), m.Action.String())
	}
	s.sendScript(w, text, err)
}

func (s *Server) sendScript(w http.ResponseWriter, text string, err error) {
	if err != nil {
		s.log.WithError(err).Warn("iPXE script not served")
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	io.WriteString(w, text)
}

// machineFile serves the kernel or ramdisk of a node.
func (s *Server) machineFile(w http.ResponseWriter, r *http.Request, uuid, begin, end string, ref func(Machine) string) {
	mac, m, err := s.machineOf(r, uuid)
	if err != nil {
		httpError(w, err)
		return
	}
	file, err := openMachineFile(m, ref(m))
	if err != nil {
		s.log.WithError(err).WithField("node", m.NodeUUID).Warn("boot file not served")
		s.emit(EventError, m.NodeUUID, mac.String(), err.Error())
		httpError(w, err)
		return
	}
	defer file.Close()
	if r.Method == http.MethodGet {
		s.emit(begin, m.NodeUUID, mac.String(), r.URL.Path)
	}
	if n, whole := s.sendFile(w, r, file); whole {
		s.emit(end, m.NodeUUID, mac.String(), fmt.Sprintf("%s, %d bytes", r.URL.Path, n))
	}
}

func openMachineFile(m Machine, ref string) (*os.File, error) {
	if m.Action != Ramdisk && m.Action != BootISO || ref == "" || isURL(ref) {
		return nil, fmt.Errorf("node %s has no such file now, its action is %v: %w", m.NodeUUID, m.Action, fs.ErrNotExist)
	}
	name, err := localPath(ref)
	if err != nil {
		return nil, fmt.Errorf("boot file of node %s: %w", m.NodeUUID, err)
	}
	file, err := openRegular(os.Stat, os.Open, name)
	if err != nil {
		return nil, fmt.Errorf("boot file of node %s: %w", m.NodeUUID, err)
	}
	return file, nil
}

// machineOf finds the node of a URL /<uuid>/…: by the MAC address that our scripts
// put into it, else by the client's address.
func (s *Server) machineOf(r *http.Request, uuid string) (net.HardwareAddr, Machine, error) {
	var mac net.HardwareAddr
	if text := r.URL.Query().Get("mac"); text != "" {
		parsed, err := parseMAC(text)
		if err != nil {
			return nil, Machine{}, err
		}
		mac = parsed
	} else if mac = s.macOf(r.RemoteAddr); mac == nil {
		return nil, Machine{}, fmt.Errorf("%s: give ?mac=, for %s is not a known client: %w", r.URL.Path, r.RemoteAddr, fs.ErrNotExist)
	}
	m, err := s.machine(r.Context(), mac)
	if err == nil && !strings.EqualFold(m.NodeUUID, uuid) {
		err = fmt.Errorf("%v is no port of node %s: %w", mac, uuid, ErrUnknownMAC)
	}
	return mac, m, err
}

func (s *Server) machine(ctx context.Context, mac net.HardwareAddr) (Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	m, err := s.dir.Machine(ctx, mac)
	if err != nil {
		return Machine{}, fmt.Errorf("look up the port %v: %w", mac, err)
	}
	return m, nil
}

// macOf returns who has an address: by our lease, else by the kernel's neighbour
// table, which knows every client that we talk to without a router between. It
// returns nil if neither knows.
func (s *Server) macOf(hostport string) net.HardwareAddr {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil
	}
	addr := toAddr(net.ParseIP(host))
	if s.dhcp.leases != nil {
		if mac := s.dhcp.leases.owner(addr); mac != nil {
			return mac
		}
	}
	table, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		return nil
	}
	return neighbour(string(table), addr)
}

// neighbour finds an address in a table like /proc/net/arp: address, hardware
// type, flags, hardware address, mask, device.
func neighbour(table string, addr netip.Addr) net.HardwareAddr {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != addr.String() || fields[2] == "0x0" {
			continue
		}
		if mac, err := net.ParseMAC(fields[3]); err == nil {
			return mac
		}
	}
	return nil
}

// tftpSent reports a file sent by TFTP.
func (s *Server) tftpSent(client net.IP, name string, size int64) {
	mac, node := "", ""
	if hw := s.macOf(net.JoinHostPort(client.String(), "0")); hw != nil {
		mac = hw.String()
		if m, err := s.machine(context.Background(), hw); err == nil {
			node = m.NodeUUID
		}
	}
	s.emit(EventTFTP, node, mac, fmt.Sprintf("%s to %v, %d bytes", name, client, size))
}

// sendFile answers with a file or the asked ranges of it. whole is true if its
// last byte was sent, n is the number of bytes sent.
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, file *os.File) (n int64, whole bool) {
	info, err := file.Stat()
	if err != nil {
		httpError(w, err)
		return 0, false
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	out := &pacedWriter{ResponseWriter: w, control: http.NewResponseController(w)}
	http.ServeContent(out, r, "", info.ModTime(), file)
	out.control.SetWriteDeadline(time.Time{}) // the connection may serve another request
	length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	complete := err == nil && out.sent == length && r.Method == http.MethodGet
	switch out.status {
	case http.StatusOK:
		return out.sent, complete
	case http.StatusPartialContent:
		last := fmt.Sprintf("-%d/%d", info.Size()-1, info.Size())
		return out.sent, complete && strings.HasSuffix(h.Get("Content-Range"), last)
	}
	return out.sent, false
}

func httpError(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrUnknownMAC), errors.Is(err, fs.ErrNotExist), errors.Is(err, errMAC):
		code = http.StatusNotFound
	case errors.Is(err, fs.ErrPermission):
		code = http.StatusForbidden
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}

var errMAC = errors.New("no MAC address")

// parseMAC reads 52-54-00-12-34-56, with colons too, or with pxelinux's 01- in front.
func parseMAC(text string) (net.HardwareAddr, error) {
	if len(text) == len("01-52-54-00-12-34-56") {
		text = strings.TrimPrefix(text, "01-")
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%.40q: %w", text, errMAC)
	}
	return mac, nil
}

// hexhyp writes a MAC address as iPXE's ${mac:hexhyp} does.
func hexhyp(mac net.HardwareAddr) string {
	return strings.ReplaceAll(mac.String(), ":", "-")
}

const (
	// stallLimit is for how long a client may take for one chunk.
	stallLimit = time.Minute
	chunk      = 4 << 20
)

// pacedWriter counts the body, and gives up on a client that has stopped reading,
// while one that reads slowly may take as long as it needs. Files still go out by
// sendfile.
type pacedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	sent    int64
}

func (p *pacedWriter) WriteHeader(status int) {
	p.status = status
	p.ResponseWriter.WriteHeader(status)
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	p.control.SetWriteDeadline(time.Now().Add(stallLimit))
	n, err := p.ResponseWriter.Write(b)
	p.sent += int64(n)
	return n, err
}

// ReadFrom is what http.ServeContent copies with, from an *io.LimitedReader on the file.
func (p *pacedWriter) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	var total int64
	for limited.N > 0 {
		p.control.SetWriteDeadline(time.Now().Add(stallLimit))
		want := min(limited.N, chunk)
		n, err := io.Copy(p.ResponseWriter, &io.LimitedReader{R: limited.R, N: want})
		total, limited.N, p.sent = total+n, limited.N-n, p.sent+n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}
