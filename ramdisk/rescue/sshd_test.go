package rescue

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	patience = 60 * time.Second
	secret   = "correct horse"
)

// sshServer serves on loopback until the test ends.
func sshServer(t *testing.T) (addr *net.TCPAddr, key ssh.PublicKey) {
	t.Helper()
	password, err := parsePassword(openssl(t, "-5", "salt", secret))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	signer, err := hostKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := hostKey(path); err != nil || !bytes.Equal(again.PublicKey().Marshal(), signer.PublicKey().Marshal()) {
		t.Errorf("the key is another one after a restart: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var served sync.WaitGroup
	served.Go(func() {
		if err := newServer(password, signer, func(string, ...any) {}).serve(ctx, l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		served.Wait()
	})
	return l.Addr().(*net.TCPAddr), signer.PublicKey()
}

// openSSH is a command of the client that everybody uses, which asks for its password
// with a script.
func openSSH(t *testing.T, addr *net.TCPAddr, key ssh.PublicKey, password string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Fatal("this test needs OpenSSH's client: ", err)
	}
	dir := t.TempDir()
	ask, known := filepath.Join(dir, "ask"), filepath.Join(dir, "known")
	if err := os.WriteFile(ask, []byte("#!/bin/sh\necho '"+password+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	entry := fmt.Sprintf("[127.0.0.1]:%d %s", addr.Port, ssh.MarshalAuthorizedKey(key))
	if err := os.WriteFile(known, []byte(entry), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "ssh", append([]string{"-F", "none", "-p", strconv.Itoa(addr.Port),
		"-o", "UserKnownHostsFile=" + known, "-o", "StrictHostKeyChecking=yes", "-o", "NumberOfPasswordPrompts=1"}, args...)...)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force", "TERM=xterm")
	return cmd
}

func TestOpenSSH(t *testing.T) {
	addr, key := sshServer(t)
	big := strings.Repeat("0123456789abcde\n", 1<<16)
	for name, c := range map[string]struct {
		password     string
		args         []string
		stdin        string
		want, errors string // output; "~" before it: part of it
		status       int
	}{
		"exec":           {args: []string{"rescue@127.0.0.1", "echo $USER $((6*7)); echo oops >&2; exit 3"}, want: "root 42\n", errors: "~oops\n", status: 3},
		"as root":        {args: []string{"root@127.0.0.1", "printf %s \"$HOME\""}, want: "/root"},
		"input":          {args: []string{"rescue@127.0.0.1", "cat"}, stdin: big, want: big},
		"shell":          {args: []string{"rescue@127.0.0.1"}, stdin: "echo one\nexit 4\n", want: "~one\n", errors: "~", status: 4},
		"terminal":       {args: []string{"-tt", "rescue@127.0.0.1", "tty; echo $TERM; sleep 0 & wait; test -t 0"}, want: "~xterm\r\n", errors: "~"},
		"killed":         {args: []string{"rescue@127.0.0.1", "kill -9 $$"}, errors: "~", status: 255},
		"left behind":    {args: []string{"rescue@127.0.0.1", "sleep 600 >/dev/null 2>&1 & echo done"}, want: "done\n"},
		"wrong password": {password: "incorrect", args: []string{"rescue@127.0.0.1", "echo in"}, errors: "~Permission denied (password)", status: 255},
		"wrong user":     {args: []string{"admin@127.0.0.1", "echo in"}, errors: "~Permission denied (password)", status: 255},
		"forwarding":     {args: []string{"-W", "127.0.0.1:1", "rescue@127.0.0.1"}, errors: "~only sessions are served", status: 255},
		"no subsystem":   {args: []string{"-s", "rescue@127.0.0.1", "sftp"}, errors: "~subsystem request failed", status: 255},
	} {
		t.Run(name, func(t *testing.T) {
			if c.password == "" {
				c.password = secret
			}
			cmd := openSSH(t, addr, key, c.password, c.args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), &stdout, &stderr
			err := cmd.Run()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			for _, o := range []struct{ what, want, got string }{{"output", c.want, stdout.String()}, {"errors", c.errors, stderr.String()}} {
				part, some := strings.CutPrefix(o.want, "~")
				if some && !strings.Contains(o.got, part) || !some && o.got != o.want {
					t.Errorf("%s %.200q, want %.200q", o.what, o.got, o.want)
				}
			}
			if got := cmd.ProcessState.ExitCode(); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
		})
	}
}

// TestSCP copies a file by the old protocol, which needs no more than a program at the
// other end.
func TestSCP(t *testing.T) {
	addr, key := sshServer(t)
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	content := bytes.Repeat([]byte("ferric\n"), 1<<17)
	if err := os.WriteFile(from, content, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := openSSH(t, addr, key, secret)
	cmd.Path, _ = exec.LookPath("scp")
	for i, a := range cmd.Args { // scp's option is another one
		if a == "-p" {
			cmd.Args[i] = "-P"
		}
	}
	cmd.Args = append(cmd.Args, "-q", "-O", from, "rescue@127.0.0.1:"+to)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(content))
	}
}

func dial(t *testing.T, addr net.Addr, password string) (*ssh.Client, error) {
	t.Helper()
	return ssh.Dial("tcp", addr.String(), &ssh.ClientConfig{
		User: "rescue", Auth: []ssh.AuthMethod{ssh.Password(password)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
	})
}

// TestTerminalSize changes the window of a running session, and leaves without a word,
// upon which what ran in it ends.
func TestTerminalSize(t *testing.T) {
	addr, _ := sshServer(t)
	client, err := dial(t, addr, secret)
	if err != nil {
		t.Fatal(err)
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &screen{news: make(chan struct{}, 1)}
	session.Stdout = out
	if err := session.RequestPty("xterm-256color", 31, 97, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	if err := session.Start("stty size; read x; stty size; echo pid $$; exec sleep 600"); err != nil {
		t.Fatal(err)
	}
	out.expect(t, "31 97\r\n")
	if err := session.WindowChange(40, 120); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(in, "\n")
	out.expect(t, "40 120\r\n")
	text := out.expect(t, "pid ")
	pid := strings.Fields(text[strings.Index(text, "pid "):])[1]
	eventually(t, "sleeping", func() bool { return sleeps(pid) })
	client.Close()
	eventually(t, "the end of a program without a peer", func() bool { return !sleeps(pid) })
}

func sleeps(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/cmdline")
	return err == nil && strings.HasPrefix(string(text), "sleep")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen in %v", what, patience)
		}
	}
}

// screen collects what a session shows.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
	news chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	select {
	case s.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

// expect waits for whole lines up to one with part.
func (s *screen) expect(t *testing.T, part string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		text := s.text.String()
		s.mu.Unlock()
		if i := strings.Index(text, part); i >= 0 && strings.Contains(text[i:], "\n") {
			return text
		}
		select {
		case <-s.news:
		case <-deadline:
			t.Fatalf("no %q, but %q", part, text)
		}
	}
}

// TestStrangers has peers that never log in, which must not keep others out.
func TestStrangers(t *testing.T) {
	addr, _ := sshServer(t)
	for range maxPerStranger {
		idle, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close()
		if _, err := idle.Read(make([]byte, 7)); err != nil { // it is let in and greeted
			t.Fatal(err)
		}
	}
	if c, err := dial(t, addr, secret); err == nil {
		c.Close()
		t.Errorf("more than %d connections of one address without a login", maxPerStranger)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
	conn, err := other.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	_, _, _, err = ssh.NewClientConn(conn, addr.String(), &ssh.ClientConfig{
		User: "rescue", HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Auth: []ssh.AuthMethod{ssh.RetryableAuthMethod(ssh.Password("wrong"), 9)},
	})
	if err == nil {
		t.Error("a wrong password is accepted")
	}
	if took := time.Since(began); took < authTries*wrongPause || took > patience {
		t.Errorf("refused after %v, want some %v", took, authTries*wrongPause)
	}
}
