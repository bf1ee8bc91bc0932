package rescue

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Limits of the SSH server. Those who have not logged in yet get little of it.
const (
	loginTime      = time.Minute
	authTries      = 3
	wrongPause     = 2 * time.Second
	maxStrangers   = 32 // connections without a login, in all
	maxPerStranger = 4  // and from one address
	maxSessions    = 10 // of one connection
	acceptPause    = time.Second
)

// hostKeyFile keeps the host key for a next start of the server in the same boot.
const hostKeyFile = "/run/rescue-ssh-host-key"

// ServeSSH serves SSH on port 22 until ctx ends. It tells log the fingerprint of its key,
// and who comes.
func ServeSSH(ctx context.Context, log func(format string, args ...any)) error {
	password, err := ReadPassword(PasswordFile)
	if err != nil {
		return err
	}
	key, err := hostKey(hostKeyFile)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", ":22")
	if err != nil {
		return fmt.Errorf("serve SSH: %w", err)
	}
	log("SSH on port 22, user rescue, host key %s %s", key.PublicKey().Type(), ssh.FingerprintSHA256(key.PublicKey()))
	return newServer(password, key, log).serve(ctx, l)
}

// hostKey reads the key kept in a file, or makes one.
func hostKey(path string) (ssh.Signer, error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		seed = make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		err = os.WriteFile(path, seed, 0o600)
	}
	if err == nil && len(seed) != ed25519.SeedSize {
		err = fmt.Errorf("%s has %d bytes, want %d", path, len(seed), ed25519.SeedSize)
	}
	if err != nil {
		return nil, fmt.Errorf("SSH host key: %w", err)
	}
	return ssh.NewSignerFromSigner(ed25519.NewKeyFromSeed(seed))
}

// server serves SSH.
type server struct {
	config *ssh.ServerConfig
	log    func(format string, args ...any)

	mu        sync.Mutex
	strangers map[string]int // connections without a login, by address
	all       int            // of them
}

func newServer(password *Password, key ssh.Signer, log func(format string, args ...any)) *server {
	s := &server{log: log, strangers: map[string]int{}}
	s.config = &ssh.ServerConfig{
		MaxAuthTries:  authTries,
		ServerVersion: "SSH-2.0-ferric-rescue",
		PasswordCallback: func(c ssh.ConnMetadata, candidate []byte) (*ssh.Permissions, error) {
			if password.Match(c.User(), string(candidate)) {
				return nil, nil
			}
			log("SSH: wrong user or password from %s", c.RemoteAddr())
			time.Sleep(wrongPause)
			return nil, errors.New("wrong user or password")
		},
	}
	s.config.AddHostKey(key)
	return s
}

// serve serves connections, each until its peer leaves, until ctx ends.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve SSH: %w", err)
		case err != nil: // out of files, or the peer has left already
			time.Sleep(acceptPause)
			continue
		}
		leave, ok := s.enter(conn)
		if !ok {
			conn.Close()
			continue
		}
		go func() {
			defer func() {
				if p := recover(); p != nil {
					s.log("SSH: internal error: %v", p)
				}
			}()
			defer conn.Close()
			s.welcome(ctx, conn, leave)
		}()
	}
}

// enter counts a stranger in, unless there are too many; leave counts it out, once.
func (s *server) enter(conn net.Conn) (leave func(), ok bool) {
	from, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStrangers || s.strangers[from] >= maxPerStranger {
		return nil, false
	}
	s.all++
	s.strangers[from]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.strangers[from]--; s.strangers[from] == 0 {
			delete(s.strangers, from)
		}
	}), true
}

// welcome lets a peer log in and serves its sessions.
func (s *server) welcome(ctx context.Context, conn net.Conn, leave func()) {
	defer leave()
	if conn.SetDeadline(time.Now().Add(loginTime)) != nil {
		return
	}
	peer, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil || conn.SetDeadline(time.Time{}) != nil {
		return
	}
	defer peer.Close()
	leave()
	s.log("SSH: %s logged in from %s", peer.User(), peer.RemoteAddr())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends what still runs in its sessions
	defer context.AfterFunc(ctx, func() { peer.Close() })()
	go ssh.DiscardRequests(requests)
	sessions := make(chan struct{}, maxSessions)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "only sessions are served")
			continue
		}
		select {
		case sessions <- struct{}{}:
		default:
			_ = c.Reject(ssh.ResourceShortage, "too many sessions")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { <-sessions }()
			newSession(channel).serve(ctx, requests)
		}()
	}
}
