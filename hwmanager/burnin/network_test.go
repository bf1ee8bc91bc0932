package burnin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair are two nodes on addresses of the loopback interface that no other test has:
// .1 and .2, with .9 for who comes between them.
func pair(t *testing.T, duration, wait time.Duration) (options [2]NetworkOptions, wirings [2]wiring, network string) {
	t.Helper()
	network = fmt.Sprintf("127.%d.%d.", 1+rand.N(250), rand.N(256))
	// Below those that the kernel gives to connections (Documentation/networking/
	// ip-sysctl.rst, ip_local_port_range), of which these nodes make some.
	port := 0
	for port == 0 {
		port = 20000 + rand.N(12000)
		probe, err := net.Listen("tcp", fmt.Sprintf("%s1:%d", network, port))
		if err != nil {
			port = 0 // somebody else listens there, at all addresses
			continue
		}
		probe.Close()
	}
	for i := range options {
		own, other := fmt.Sprint(network, i+1), fmt.Sprint(network, 2-i)
		options[i] = NetworkOptions{Writer: i == 0, Partner: other, Time: duration, Wait: wait}
		wirings[i] = wiring{listen: fmt.Sprintf("%s:%d", own, port), port: port, local: &net.TCPAddr{IP: net.ParseIP(own)}, jobs: 4, retry: 50 * time.Millisecond}
	}
	return options, wirings, network
}

func TestNetworkLoad(t *testing.T) {
	t.Parallel()
	options, wirings, _ := pair(t, time.Second, time.Minute)
	var reports [2]*NetworkReport
	var failures [2]error
	var both sync.WaitGroup
	for i := range options {
		both.Go(func() {
			if i == 0 {
				time.Sleep(200 * time.Millisecond) // the reader has to try again
			}
			reports[i], failures[i] = loadNetwork(t.Context(), machine(), options[i], wirings[i], ignore)
		})
	}
	both.Wait()
	for i, r := range reports {
		if failures[i] != nil {
			t.Fatal(failures[i])
		}
		t.Logf("%.2f s: %+v %+v", r.Seconds, r.Runs, r.Traffic)
	}
	for i, roles := range [2][2]string{{"writer", "reader"}, {"reader", "writer"}} {
		a, b := reports[0].Runs[i], reports[1].Runs[i]
		if a.Role != roles[0] || b.Role != roles[1] || a.Bytes != b.Bytes || a.Bytes < streamBlock || a.Connections != 4 || b.Rate <= 0 {
			t.Errorf("run %d: %+v and %+v", i+1, a, b)
		}
	}
	if len(reports[0].Traffic) != 1 || reports[0].Traffic[0].Name != "lo" || reports[0].Traffic[0].Grown["rx_bytes"] < reports[0].Runs[0].Bytes {
		t.Errorf("interfaces %+v", reports[0].Traffic)
	}
}

// proxy puts itself between the nodes and lets through what change makes of it.
// It has the address that the reader takes for the writer's, and connects from the
// reader's.
func proxy(t *testing.T, address string, options *[2]NetworkOptions, wirings [2]wiring, change func(total int64, p []byte)) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, wirings[0].port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	options[1].Partner = address
	go func() {
		for {
			reader, err := listener.Accept()
			if err != nil {
				return
			}
			dialer := net.Dialer{LocalAddr: wirings[1].local}
			writer, err := dialer.Dial("tcp", wirings[0].listen)
			if err != nil {
				reader.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(writer, reader)
				writer.Close()
			}()
			go func() {
				defer reader.Close()
				buf, total := make([]byte, 4096), int64(0)
				for {
					n, err := writer.Read(buf)
					if err != nil {
						return
					}
					change(total, buf[:n])
					total += int64(n)
					if _, err := reader.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
}

func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		change         func(total int64, p []byte)
		reader, writer string
	}{
		{"a flipped bit", func(total int64, p []byte) {
			if at := int64(3*streamBlock + 40 + 1000); total <= at && at < total+int64(len(p)) {
				p[at-total] ^= 4
			}
		}, `^run 1, as reader, with 127[.0-9]+\.9: connection \d: corrupt block after 196608 bytes: 1 of 524288 bits are wrong, the first in byte 1000$`, `^run 1, as writer, with 127[.0-9]+\.2: connection \d: (send|no word)`},
		{"garbage for an answer", func(total int64, p []byte) {
			for i := range p {
				p[i] = 'x'
			}
		}, `the partner does not speak the protocol of burnin_network$`, `run 1, as writer`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			options, wirings, network := pair(t, time.Hour, time.Minute)
			proxy(t, network+"9", &options, wirings, test.change)
			var failures [2]error
			var both sync.WaitGroup
			began := time.Now()
			for i := range options {
				both.Go(func() { _, failures[i] = loadNetwork(t.Context(), machine(), options[i], wirings[i], ignore) })
			}
			both.Wait()
			for i, want := range []string{test.writer, test.reader} {
				if failures[i] == nil || !regexp.MustCompile(want).MatchString(failures[i].Error()) {
					t.Errorf("error = %v; want %s", failures[i], want)
				}
			}
			if took := time.Since(began); took > promptly {
				t.Errorf("it took %s to fail", took)
			}
		})
	}
}

func TestNetworkStrangers(t *testing.T) {
	t.Parallel()
	options, wirings, network := pair(t, time.Second, time.Hour)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	done := make(chan error)
	var report *NetworkReport
	go func() {
		var err error
		report, err = loadNetwork(ctx, machine(), options[0], wirings[0], ignore)
		done <- err
	}()
	dial := func(from string, say []byte) error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		var c net.Conn
		var err error
		for range 1000 { // until it listens
			if c, err = dialer.Dial("tcp", wirings[0].listen); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(introTime + promptly))
		if _, err := c.Write(say); err != nil {
			return nil // it did not even listen
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || isTimeout(err) {
			return fmt.Errorf("%s is not sent away: %d bytes, %w", from, n, err)
		}
		return nil
	}
	for _, err := range []error{
		dial(network+"77", []byte("hello")),
		dial(network+"2", []byte(strings.Repeat("GET / HTTP/1.1\r\n", 20))),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("error = %v", err)
	}
	if report.Runs[0].Refused != 2 || report.Error == "" {
		t.Errorf("report %+v", report)
	}
}

func TestNetworkPartnerNeverComes(t *testing.T) {
	t.Parallel()
	options, wirings, _ := pair(t, time.Second, 500*time.Millisecond)
	try := func(i int, want string) {
		t.Helper()
		began := time.Now()
		_, err := loadNetwork(t.Context(), machine(), options[i], wirings[i], ignore)
		if err == nil || !regexp.MustCompile(want).MatchString(err.Error()) || time.Since(began) > promptly {
			t.Errorf("error = %v after %s; want %q", err, time.Since(began), want)
		}
	}
	try(0, `0 of 4 connections were made within 500ms$`)
	try(1, `the partner did not come within 500ms: .*refused`)
	options[0].Partner, options[1].Partner = "no such node.invalid", "no such node.invalid"
	try(0, `0 of 4 connections were made within 500ms\n.*no such`)
	try(1, `the partner did not come within 500ms: .*no such`)
}

func TestNetworkLongerRuntime(t *testing.T) {
	t.Parallel()
	options, wirings, _ := pair(t, time.Second, time.Minute)
	options[0].Time = time.Hour
	go func() { _, _ = loadNetwork(t.Context(), machine(), options[0], wirings[0], ignore) }()
	_, err := loadNetwork(t.Context(), machine(), options[1], wirings[1], ignore)
	if !errors.Is(err, errTooLong) {
		t.Errorf("error = %v; want %v", err, errTooLong)
	}
}

func TestNetworkAbort(t *testing.T) {
	t.Parallel()
	aborted := errors.New("aborted by the operator")
	for _, delay := range []time.Duration{100 * time.Millisecond, time.Second} { // while it waits, and under load
		options, wirings, _ := pair(t, time.Hour, time.Hour)
		var both sync.WaitGroup
		ctx, cancel := context.WithCancelCause(t.Context())
		for i := range options {
			if i == 1 && delay < time.Second {
				continue
			}
			both.Go(func() {
				if _, err := loadNetwork(ctx, machine(), options[i], wirings[i], ignore); !errors.Is(err, aborted) {
					t.Errorf("error = %v; want the cause", err)
				}
			})
		}
		time.Sleep(delay)
		cancel(aborted)
		began := time.Now()
		both.Wait()
		if took := time.Since(began); took > promptly {
			t.Errorf("it went on for %s after it was aborted", took)
		}
	}
}

// TestNetworkChild is one node of TestNetworkNamespaces, in a process of its own.
func TestNetworkChild(t *testing.T) {
	encoded := os.Getenv("FERRIC_BURNIN_NODE")
	if encoded == "" {
		return
	}
	var o NetworkOptions
	if err := json.Unmarshal([]byte(encoded), &o); err != nil {
		t.Fatal(err)
	}
	w := defaultWiring()
	w.retry = 100 * time.Millisecond
	report, err := loadNetwork(t.Context(), machine(), o, w, ignore)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("report: %s\n", text)
}

// TestNetworkNamespaces runs two nodes in network namespaces of their own, with
// nothing but a link between them, on the port and with the connections of the contract.
func TestNetworkNamespaces(t *testing.T) {
	t.Parallel()
	names := [2]string{fmt.Sprintf("burnin-a-%d", os.Getpid()), fmt.Sprintf("burnin-b-%d", os.Getpid())}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("ip %v: %v: %s", args, err, out)
			}
			t.Skipf("needs network namespaces: ip %v: %v: %s", args, err, out)
		}
	}
	for _, name := range names {
		ip("netns", "add", name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
	}
	ip("-n", names[0], "link", "add", "wire0", "type", "veth", "peer", "name", "wire0", "netns", names[1])
	for i, name := range names {
		ip("-n", name, "address", "add", fmt.Sprintf("198.51.100.%d/24", i+1), "dev", "wire0")
		ip("-n", name, "link", "set", "wire0", "up")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var both sync.WaitGroup
	var outputs [2][]byte
	for i, name := range names {
		o, err := json.Marshal(NetworkOptions{Writer: i == 0, Partner: fmt.Sprintf("198.51.100.%d", 2-i), Time: time.Second, Wait: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(ctx, "ip", "netns", "exec", name, os.Args[0], "-test.run=^TestNetworkChild$")
		cmd.Env = append(os.Environ(), "FERRIC_BURNIN_NODE="+string(o))
		both.Go(func() { outputs[i], _ = cmd.CombinedOutput() })
	}
	both.Wait()
	for i, out := range outputs {
		_, text, found := strings.Cut(string(out), "report: ")
		text, _, _ = strings.Cut(text, "\n")
		var r NetworkReport
		if err := json.Unmarshal([]byte(text), &r); !found || err != nil {
			t.Fatalf("node %d: %v: %s", i, err, out)
		}
		t.Logf("%s", text)
		if len(r.Runs) != 2 || r.Runs[0].Connections != 16 || r.Runs[0].Bytes < streamBlock || r.Runs[1].Bytes < streamBlock || len(r.Traffic) != 1 || r.Traffic[0].Name != "wire0" {
			t.Errorf("node %d: %+v", i, r)
		}
	}
}

func FuzzHello(f *testing.F) {
	var sent strings.Builder
	if err := (hello{3, 1 << 60, 77}).send(&sent); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(sent.String()))
	f.Add([]byte(helloMagic))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := parseHello(p)
		if err != nil {
			return
		}
		var again strings.Builder
		if err := h.send(&again); err != nil {
			t.Fatal(err)
		}
		if back, err := parseHello([]byte(again.String())); err != nil || back != h {
			t.Errorf("%x is %+v, which is sent as %+v, %v", p, h, back, err)
		}
	})
}
