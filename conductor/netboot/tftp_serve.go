package netboot

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// openTFTP opens a file for a TFTP client.
func (s *Server) openTFTP(ctx context.Context, client netip.Addr, name string) (tftpFile, error) {
	a, err := s.answer(ctx, question{protocol: ProtocolTFTP, path: name, peer: client})
	if err != nil {
		s.refused(a, err)
		return tftpFile{}, err
	}
	info, err := a.file.Stat()
	if err != nil {
		a.file.Close()
		return tftpFile{}, fmt.Errorf("read the size of %q: %w", name, err)
	}
	if begin, _ := a.events(ProtocolTFTP); begin != "" {
		s.emit(begin, a.machine.NodeUUID, a.owner.String(), a.detail(name))
	}
	return tftpFile{ReaderAt: a.file, Closer: a.file, size: info.Size()}, nil
}

// tftpDone reports what became of a TFTP request.
func (s *Server) tftpDone(client netip.Addr, req tftpRequest, size int64, err error) {
	seen := Sighting{IP: client.String(), Protocol: ProtocolTFTP, Request: req.String()}
	if hw := s.macOfAddr(client); hw != nil {
		seen.MAC = hw.String()
		if m, err := s.machine(context.Background(), hw); err == nil {
			seen.NodeUUID = m.NodeUUID
		}
	}
	switch {
	case err == nil:
		seen.Answer, seen.Bytes = fmt.Sprintf("sent, %d bytes", size), size
		a := answer{target: parsePath(req.name, s.roots())}
		if _, end := a.events(ProtocolTFTP); end != "" {
			s.emit(end, seen.NodeUUID, seen.MAC, fmt.Sprintf("%s to %v, %d bytes", req.name, client, size))
		}
	case errors.Is(err, errClientStopped):
		seen.Answer = fmt.Sprintf("its size, %d bytes; %v", size, err)
	default:
		seen.Reason = err.Error()
	}
	s.sight(seen)
}
