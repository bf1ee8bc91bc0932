package netboot

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// HTTPHandler serves, below /, the paths of parsePath: scripts and configurations
// of machines, their files, the boot loaders, and the files of http_root. GET and
// HEAD, with Range. It may be mounted elsewhere if http_url says so.
func (s *Server) HTTPHandler() http.Handler { return http.HandlerFunc(s.answerHTTP) }

func (s *Server) answerHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, r.Method+" is not served here: only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	q := question{
		protocol: ProtocolHTTP, path: r.URL.Path, peer: peerAddr(r.RemoteAddr), mac: r.URL.Query().Get("mac"),
		ipxe: strings.HasPrefix(r.UserAgent(), "iPXE"),
	}
	seen := Sighting{Time: time.Now(), IP: q.peer.String(), Protocol: ProtocolHTTP, Request: r.Method + " " + r.URL.Path}
	a, err := s.answer(r.Context(), q)
	seen.MAC, seen.NodeUUID = a.owner.String(), a.machine.NodeUUID
	if err != nil {
		seen.Reason = err.Error()
		s.sightings.add(seen)
		s.refused(a, err)
		httpError(w, err)
		return
	}
	defer a.file.Close()
	begin, end := a.events(ProtocolHTTP)
	if r.Method == http.MethodGet && begin != "" {
		s.emit(begin, a.machine.NodeUUID, a.owner.String(), a.detail(r.URL.Path))
	}
	if a.text {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
	}
	n, whole := s.sendFile(w, r, a.file)
	if whole && end != "" {
		s.emit(end, a.machine.NodeUUID, a.owner.String(), fmt.Sprintf("%s, %d bytes", r.URL.Path, n))
	}
	seen.Answer, seen.Bytes = fmt.Sprintf("%d bytes", n), n
	if r.Method == http.MethodHead {
		seen.Answer = "its size"
	}
	s.sightings.add(seen)
}

// detail is what an event says of an answer that begins.
func (a *answer) detail(path string) string {
	if a.text {
		return a.machine.Action.String()
	}
	return path
}

// refused reports a question of a known machine that found no answer though
// there should be one.
func (s *Server) refused(a answer, err error) {
	missing := a.kind == kindKernel || a.kind == kindRamdisk || a.kind == kindISO || isMissing(err)
	if a.machine.NodeUUID == "" || notFound(err) && !missing || errors.Is(err, ErrUnknownMAC) {
		return
	}
	s.log.WithError(err).WithField("node", a.machine.NodeUUID).Warn("boot file not served")
	s.emit(EventError, a.machine.NodeUUID, a.owner.String(), err.Error())
}

// peerAddr is the address of host:port, invalid if there is none.
func peerAddr(hostport string) netip.Addr {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// sendFile answers with a file or the asked ranges of it. whole is true if its
// last byte was sent, n is the number of bytes sent.
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, file file) (n int64, whole bool) {
	info, err := file.Stat()
	if err != nil {
		httpError(w, err)
		return 0, false
	}
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
		h.Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	}
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
	case notFound(err), isMissing(err):
		code = http.StatusNotFound
	case errors.Is(err, fs.ErrPermission):
		code = http.StatusForbidden
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}

var errMAC = errors.New("no MAC address")

// parseMAC reads 52-54-00-12-34-56, with colons, dots or nothing between too, or with pxelinux's 01- in front.
func parseMAC(text string) (net.HardwareAddr, error) {
	if len(text) == len("01-52-54-00-12-34-56") {
		text = strings.TrimPrefix(text, "01-")
	}
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == 6 {
		return raw, nil
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
	chunk      = 256 << 10
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
