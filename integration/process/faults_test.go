package process_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/integration/faults/proxy"
)

// smallDisk is a file system of so many MiB, for a database.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullDisk fills the disk under the database of a conductor at work: what
// cannot be kept is refused with 503, what was acknowledged stays, and a
// deployment goes on when there is space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 24)
	c, images := newConductor(t, "[database]", "connection = sqlite:///"+disk+"/ferric.sqlite"), newShop(t)
	m := newMachine(t, c, spec{})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)

	filler := filepath.Join(disk, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte{1}, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	f.Close()
	var kept []string
	refusals := 0
	for i := 0; refusals < 5; i++ {
		name := fmt.Sprintf("full-%d", i)
		switch status, text := c.create(t, name); {
		case status == http.StatusCreated:
			kept = append(kept, name)
		case status == http.StatusServiceUnavailable && strings.Contains(text, "no space left"):
			refusals++
		default:
			t.Fatalf("on a full disk: %d %s; want 503 and why", status, text)
		}
		if i > 5000 {
			t.Fatal("the disk is not full")
		}
	}
	if n := m.node(t); n.ProvisionState != ironic.StateDeployWait {
		t.Errorf("on a full disk the node cannot be read, or is %s", n.ProvisionState)
	}
	images.open()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	m.wait(t, ironic.StateActive)
	m.holds(t)
	c.restart(t)
	for _, name := range kept {
		if _, err := c.api.Node(t.Context(), name); err != nil {
			t.Errorf("%s was acknowledged: %v", name, err)
		}
	}
	if _, err := c.api.Node(t.Context(), fmt.Sprintf("full-%d", len(kept))); !client.IsStatus(err, http.StatusNotFound) {
		t.Errorf("what was refused: %v; want 404", err)
	}
}

// create makes a large node, and does not repeat itself as clients do.
func (c *conductor) create(t *testing.T, name string) (status int, text string) {
	t.Helper()
	body := fmt.Sprintf(`{"name": %q, "driver": "fake-hardware", "extra": {"text": %q}}`, name, strings.Repeat("x", 8000))
	status, answer := c.send(t, http.MethodPost, "/v1/nodes", "1.82", body)
	return status, string(answer)
}

// TestUnusableDatabase starts conductors on what is no database of theirs:
// they end with one sentence that names the file.
func TestUnusableDatabase(t *testing.T) {
	t.Parallel()
	good := newConductor(t)
	good.stop(t)
	text, err := os.ReadFile(filepath.Join(good.dir, "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := slices.Clone(text)
	for i := 4096; i < len(damaged); i++ {
		damaged[i] ^= 0x5a
	}
	for name, tt := range map[string]struct {
		prepare func(path string) error
		reason  string
	}{
		"no database": {func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("text "), 4000), 0o600) }, "not a database"},
		"damaged":     {func(path string) error { return os.WriteFile(path, damaged, 0o600) }, "malformed"},
		"cut off":     {func(path string) error { return os.WriteFile(path, text[:len(text)/2], 0o600) }, "malformed"},
		"a directory": {func(path string) error { return os.Mkdir(path, 0o700) }, "is a directory"},
		"read-only": {func(path string) error {
			return unix.Mount("", filepath.Dir(path), "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}, "read-only"},
		"no space left": {func(path string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(path), "filler"), make([]byte, 4<<20-12<<10), 0o600)
		}, "no space left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := smallDisk(t, 4)
			path := filepath.Join(dir, "ferric.sqlite")
			if err := tt.prepare(path); err != nil {
				t.Fatal(err)
			}
			config := filepath.Join(t.TempDir(), "ferric.conf")
			settings := fmt.Sprintf("[DEFAULT]\nhost = x\nmy_ip = 127.0.0.1\n[database]\nconnection = sqlite:///%s\n[api]\nhost_ip = 127.0.0.1\nport = %d\n[netboot]\ntftp_port = 0\n", path, newPort())
			if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
				t.Fatal(err)
			}
			p := launch(t, config+".log", program(t, "ferric"), "conductor", "--config", config)
			select {
			case <-p.ended:
			case <-time.After(patience):
				p.kill(t)
				t.Error("the conductor runs")
			}
			log, err := os.ReadFile(p.log)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s", log)
			if p.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(log), path) || !strings.Contains(strings.ToLower(string(log)), tt.reason) || strings.Contains(string(log), "panic") {
				t.Errorf("status %d, %q; want 1, %s and %q", p.cmd.ProcessState.ExitCode(), log, path, tt.reason)
			}
		})
	}
}

// TestPartition cuts an agent off from the API while it writes the image. It
// tells the outcome when it can.
func TestPartition(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	road := proxy.StartTCP(t, fmt.Sprintf("127.0.0.1:%d", newPort()))
	road.To(strings.TrimPrefix(c.url, "http://"))
	m := newMachine(t, c, spec{})
	m.args[1] = "http://" + road.Address()
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)
	road.All(proxy.Refuse)
	road.Cut()
	m.waiting(t, ironic.StateDeployWait, "write_image")
	images.open()
	eventually(t, "the end of the image, told to nobody", func() bool {
		text, err := os.ReadFile(m.agentLog())
		return err == nil && strings.Contains(string(text), "refused") || strings.Contains(string(text), "reset by peer") || strings.Contains(string(text), "EOF")
	})
	m.waiting(t, ironic.StateDeployWait, "write_image")
	road.All(proxy.Pass)
	m.wait(t, ironic.StateActive)
	m.holds(t)
}

// TestImageServerReturns cuts the connection to the image server in the middle
// of the image.
func TestImageServerReturns(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	road := proxy.StartTCP(t, fmt.Sprintf("127.0.0.1:%d", newPort()))
	road.To(images.Listener.Addr().String())
	m := newMachine(t, c, spec{})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, "http://"+road.Address()+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)
	images.open()
	road.Cut()
	m.wait(t, ironic.StateActive)
	m.holds(t)
}

// TestSlowClients opens connections that say a byte now and then, to the API
// and to the server of boot files: others are served, and the slow ones cut.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	boot := newPort()
	c := newConductor(t, "[netboot]", fmt.Sprintf("http_listen = 127.0.0.1:%d", boot))
	for name, address := range map[string]string{"API": strings.TrimPrefix(c.url, "http://"), "boot files": fmt.Sprintf("127.0.0.1:%d", boot)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var slow []net.Conn
			for range 200 {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
					t.Fatal(err)
				}
				slow = append(slow, conn)
			}
			began := time.Now()
			resp, err := http.Get("http://" + address + "/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s beside slow clients answered after %v", address, took)
			}
			for deadline := time.Now().Add(30 * time.Second); len(slow) > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("%s: %d slow clients are still connected", address, len(slow))
				}
				slow = slices.DeleteFunc(slow, func(conn net.Conn) bool {
					conn.SetReadDeadline(time.Now().Add(time.Millisecond))
					_, err := io.Copy(io.Discard, conn)
					_, alive := io.WriteString(conn, "x")
					return err == nil || alive != nil
				})
			}
		})
	}
}

// TestHeartbeatFlood sends heartbeats of nobody as fast as it can, while a
// machine is deployed.
func TestHeartbeatFlood(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	m := newMachine(t, c, spec{})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setGood(t, images)
	uuid := m.node(t).UUID
	var sent, taken atomic.Int64
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for range 16 {
		flood.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				body := strings.NewReader(`{"callback_url": "https://127.0.0.1:1", "agent_version": "1", "agent_token": "guess"}`)
				req, _ := http.NewRequest(http.MethodPost, c.url+"/v1/heartbeat/"+uuid, body)
				req.Header.Set(ironic.HeaderVersion, "1.82")
				req.Header.Set("Content-Type", "application/json")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					continue
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if sent.Add(1); resp.StatusCode == http.StatusAccepted {
					taken.Add(1)
				}
			}
		})
	}
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	m.wait(t, ironic.StateActive)
	close(stop)
	flood.Wait()
	m.holds(t)
	t.Logf("deployed beside %d heartbeats of nobody", sent.Load())
	if sent.Load() < 100 || taken.Load() > 0 {
		t.Errorf("%d heartbeats of nobody, of which %d were taken", sent.Load(), taken.Load())
	}
}
