package ramdisk

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"golang.org/x/crypto/ssh"

	"ferric/integration/lab"
)

// TestBootRescue hands a machine over for a rescue, and logs in on its console and over
// SSH, with a wrong password first.
func TestBootRescue(t *testing.T) {
	const password = "let me in"
	hasher, err := shacrypt.New(shacrypt.WithSHA256(), shacrypt.WithIterations(shacrypt.IterationsDefaultOmitted))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hasher.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build(t, Options{Output: dir})
	lab.Alone(t)
	m := boot(t, dir, filepath.Join(dir, InitramfsFile), "", "-device", "virtio-net-pci,netdev=boot,mac=52:54:00:00:00:02")
	m.expect(`agent: agent listening`, 1)
	if c, err := m.dial(password, nil); err == nil {
		c.Close()
		t.Error("SSH is served before the rescue")
	}
	m.ask("/rescue", url.Values{"hash": {hash.Encode()}})
	m.expect(`uinit: agent ended: exit status 0`, 1)
	line, _ := m.expect(`rescue: SSH on port 22, .* SHA256:`, 1)
	fingerprint := regexp.MustCompile(`SHA256:\S+`).FindString(line)

	m.expect(`^node-7 rescue login: `, 1)
	m.answer("rescue", "let me out")
	m.expect(`^Login incorrect`, 1)
	m.expect(`^node-7 rescue login: `, 2)
	m.answer("rescue", password)
	m.expect(`You are root in the rescue system`, 1)
	m.expect(`node-7:/root# $`, 1)
	fmt.Fprint(m.console, "echo $USER $((40+2)) $TERM; sleep 600\r")
	m.expect(`root 42 vt220$`, 1)
	fmt.Fprint(m.console, "\x03") // ends what runs, not the shell
	m.expect(`node-7:/root# $`, 2)
	fmt.Fprint(m.console, "echo 'not whole\r")
	m.expect(`^> $`, 1)
	fmt.Fprint(m.console, "yet'; )\r")
	m.expect(`node-7:/root# $`, 3)
	fmt.Fprint(m.console, "echo ends-$((1+1))\r")
	m.expect(`ends-2$`, 1)

	if c, err := m.dial("let me out", nil); err == nil {
		c.Close()
		t.Error("SSH accepts a wrong password")
	}
	var key ssh.PublicKey
	c, err := m.dial(password, &key)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := ssh.FingerprintSHA256(key); got != fingerprint {
		t.Errorf("host key %s, the console says %s", got, fingerprint)
	}
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.CombinedOutput("uname -s; ls /mnt; ps | grep -c agent")
	if want := "Linux\n0\n"; string(out) != want { // grep's status is that of finding nothing
		t.Errorf("output %q, %v; want %q: Linux, and no agent any more", out, err, want)
	}
	m.copyTo(t, password, "/tmp/copied")
	if session, err = c.NewSession(); err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("xterm", 33, 99, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	out, err = session.CombinedOutput("echo $TERM; stty; sh -c 'wc -c /tmp/copied; exit 5'")
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 5 {
		t.Errorf("on a terminal: %v, want status 5", err)
	}
	for _, want := range []string{"xterm\r\n", "rows:33 cols:99", "1048576 /tmp/copied\r\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("on a terminal: %q, want %q in it", out, want)
		}
	}
	m.expect(`node-7:/root# $`, 4)
	fmt.Fprint(m.console, "poweroff\r")
	select {
	case err := <-m.exited:
		if err != nil {
			t.Errorf("QEMU: %v", err)
		}
	case <-time.After(bootPatience):
		t.Error("the machine is not off after poweroff")
	}
	for _, line := range m.lines {
		if strings.Contains(line, password) || strings.Contains(line, hash.Encode()) {
			t.Errorf("console says %q", line)
		}
	}
}

// answer types a user's name and, when asked, the password.
func (m *machine) answer(user, password string) {
	m.t.Helper()
	m.mu.Lock()
	asked := 0
	for _, line := range m.lines {
		if strings.HasSuffix(line, "Password: ") {
			asked++
		}
	}
	m.mu.Unlock()
	fmt.Fprint(m.console, user, "\r")
	m.expect(`Password: $`, asked+1)
	fmt.Fprint(m.console, password, "\r")
}

func (m *machine) dial(password string, key *ssh.PublicKey) (*ssh.Client, error) {
	return ssh.Dial("tcp", m.ssh, &ssh.ClientConfig{
		User: "rescue", Auth: []ssh.AuthMethod{ssh.Password(password)}, Timeout: bootPatience,
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			if key != nil {
				*key = k
			}
			return nil
		},
	})
}

// copyTo copies a MiB into the machine with OpenSSH's client.
func (m *machine) copyTo(t *testing.T, password, path string) {
	t.Helper()
	dir := t.TempDir()
	ask, file := filepath.Join(dir, "ask"), filepath.Join(dir, "file")
	if err := os.WriteFile(ask, []byte("#!/bin/sh\necho '"+password+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(m.ssh)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "scp", "-F", "none", "-O", "-q", "-P", port, "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile="+filepath.Join(dir, "known"), file, "rescue@127.0.0.1:"+path)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+ask, "SSH_ASKPASS_REQUIRE=force")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("scp: %v: %s", err, out)
	}
}
