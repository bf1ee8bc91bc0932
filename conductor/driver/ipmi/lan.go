package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/types"
)

// lan is an IPMI 1.5 session, for BMCs that are too old for RMCP+, by go-ipmi's client.
type lan struct {
	client *client.Client // its socket is that of the wire
}

// openLAN logs in by IPMI 1.5. Errors: ErrAuth, ErrPrivilege, ErrUnreachable.
func openLAN(ctx context.Context, w *wire, info Info) (*lan, error) {
	c, err := client.NewClient(info.Address, info.Port, info.Username, string(info.Password))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidParameter, err)
	}
	c.WithInterface(client.InterfaceLan).WithTimeout(w.wait).WithRetry(sendings).
		WithMaxPrivilegeLevel(info.PrivilegeLevel).WithUDPProxy(vettedDialer{w.conn})
	s := &lan{client: c}
	if err := c.Connect(ctx); err != nil {
		err = lanError(ctx, types.CommandActivateSession, err)
		if answered(err) {
			err = fmt.Errorf("%w: %w", ErrAuth, err)
		}
		return nil, fmt.Errorf("login of user %q by IPMI 1.5: %w", info.Username, err)
	}
	return s, nil
}

func (s *lan) command(ctx context.Context, cmd types.Command, data []byte) ([]byte, error) {
	response, err := s.client.RawCommand(ctx, cmd.NetFn, cmd.ID, data, cmd.Name)
	if err != nil {
		return nil, lanError(ctx, cmd, err)
	}
	return response.Response, nil
}

func (s *lan) close(ctx context.Context) { _ = s.client.Close(ctx) }

// lanError puts the client's errors into the words of this package.
func lanError(ctx context.Context, cmd types.Command, err error) error {
	if response, ok := types.IsResponseError(err); ok && response.CompletionCode() != types.CodeOK {
		return &CompletionError{Command: cmd, Code: response.CompletionCode()}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// vettedDialer hands out one connection that lets only well-formed IPMI 1.5 datagrams through: the client
// would otherwise follow an RMCP+ packet into code that trusts its lengths.
type vettedDialer struct{ conn net.Conn }

func (d vettedDialer) Dial(string, string) (net.Conn, error) { return vettedConn{d.conn}, nil }

type vettedConn struct{ net.Conn }

func (c vettedConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || isLAN15(b[:n]) {
			return n, err
		}
	}
}

// isLAN15 reports whether b is an RMCP datagram with a complete IPMI 1.5 session header and message.
func isLAN15(b []byte) bool {
	const ipmiClass, rmcpPlus = 0x07, 0x06
	if len(b) < rmcpHeaderSize+types.SessionHeader15SizeMin || b[3] != ipmiClass || b[4] == rmcpPlus {
		return false
	}
	var session types.Session15
	if session.Unpack(b[rmcpHeaderSize:]) != nil {
		return false
	}
	_, ok := parseMessage(session.Payload)
	return ok
}
