package lab_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ferric/integration/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// rackDir is a directory with a path short enough for sockets.
func rackDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rack")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func up(t *testing.T, nodes ...lab.NodeConfig) (context.Context, *lab.Rack) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	rack, err := lab.Up(ctx, lab.Config{Dir: rackDir(t), Nodes: nodes, Accel: "tcg"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rack.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, rack
}

func tool(t *testing.T, ctx context.Context, n *lab.Node, args ...string) string {
	t.Helper()
	out, err := n.BMC.Tool(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// agrees waits until ipmitool and the rack both see the wanted state.
func agrees(t *testing.T, ctx context.Context, n *lab.Node, want lab.State) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, err := n.Agree(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("machine %s is %+v, want %+v", n.Config.Name, got, want)
		}
	}
}

func exists(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

func TestPower(t *testing.T) {
	ctx, rack := up(t, lab.NodeConfig{Name: "n1", MemoryMiB: 128})
	n := rack.Node("n1")
	agrees(t, ctx, n, lab.State{Powered: false, Selector: lab.SelectNone})

	if out, err := n.BMC.Tool(ctx, "chassis", "power", "reset"); err == nil {
		t.Errorf("reset of a machine that is off: %q, want an error", out)
	}
	tool(t, ctx, n, "chassis", "power", "on")
	agrees(t, ctx, n, lab.State{Powered: true, Selector: lab.SelectNone})
	first := n.PID()
	if !exists(first) {
		t.Fatal("on, but there is no QEMU")
	}
	tool(t, ctx, n, "chassis", "power", "on")
	if n.PID() != first {
		t.Error("power on of a machine that is on started another QEMU")
	}
	tool(t, ctx, n, "chassis", "power", "soft") // nothing in the guest listens: stays on
	agrees(t, ctx, n, lab.State{Powered: true, Selector: lab.SelectNone})

	if _, err := n.Console.WaitFor(ctx, 0, regexp.MustCompile("SeaBIOS")); err != nil {
		t.Fatal(err)
	}
	mark := n.Console.Mark()
	tool(t, ctx, n, "chassis", "power", "reset")
	if _, err := n.Console.WaitFor(ctx, mark, regexp.MustCompile("SeaBIOS")); err != nil {
		t.Fatal(err)
	}
	if n.PID() != first {
		t.Error("reset started another QEMU")
	}

	tool(t, ctx, n, "chassis", "power", "cycle")
	for exists(first) { // bounded by the test's context, through agrees below
		agrees(t, ctx, n, lab.State{Powered: n.Powered(), Selector: lab.SelectNone})
	}
	agrees(t, ctx, n, lab.State{Powered: true, Selector: lab.SelectNone})
	second := n.PID()

	tool(t, ctx, n, "chassis", "power", "off")
	agrees(t, ctx, n, lab.State{Powered: false, Selector: lab.SelectNone})
	if exists(second) {
		t.Error("off, but QEMU is still there")
	}

	// QEMU dies by itself, as it does when the guest powers off
	tool(t, ctx, n, "chassis", "power", "on")
	third := n.PID()
	if err := unix.Kill(third, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	agrees(t, ctx, n, lab.State{Powered: false, Selector: lab.SelectNone})

	var kinds []lab.EventKind
	for _, e := range n.Events() {
		kinds = append(kinds, e.What)
	}
	want := []lab.EventKind{lab.PoweredOn, lab.WasReset, lab.PoweredOff, lab.PoweredOn, lab.PoweredOff, lab.PoweredOn, lab.GuestOff}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if raw, err := os.ReadFile(n.Console.Path()); err != nil || int64(len(raw)) != n.Console.Size() {
		t.Errorf("console file has %d bytes (%v), console says %d", len(raw), err, n.Console.Size())
	}
}

func TestSelectorDecides(t *testing.T) {
	ctx, rack := up(t, lab.NodeConfig{Name: "n1", MemoryMiB: 128})
	n := rack.Node("n1")
	disk, network := regexp.MustCompile(`No bootable device`), regexp.MustCompile(`Configuring \(net0`)

	tool(t, ctx, n, "chassis", "bootdev", "disk")
	agrees(t, ctx, n, lab.State{Selector: lab.SelectDisk})
	tool(t, ctx, n, "chassis", "power", "on")
	if _, err := n.Console.WaitFor(ctx, 0, disk); err != nil {
		t.Fatal(err)
	}
	for _, l := range n.Console.Lines(0) {
		if network.MatchString(l.Text) {
			t.Errorf("selector disk, but the machine tried the network: %q", l.Text)
		}
	}
	agrees(t, ctx, n, lab.State{Powered: true, Selector: lab.SelectNone}) // used up

	// on a running machine: takes effect at the next reset, once
	tool(t, ctx, n, "chassis", "bootdev", "pxe")
	agrees(t, ctx, n, lab.State{Powered: true, Selector: lab.SelectPXE})
	mark := n.Console.Mark()
	tool(t, ctx, n, "chassis", "power", "reset")
	if l, err := n.Console.WaitFor(ctx, mark, regexp.MustCompile(`Configuring \(net0|Booting from Hard`)); err != nil {
		t.Fatal(err)
	} else if !network.MatchString(l.Text) {
		t.Errorf("selector pxe, but the machine began with %q", l.Text)
	}
	agrees(t, ctx, n, lab.State{Powered: true, Selector: lab.SelectNone})
	mark = n.Console.Mark()
	tool(t, ctx, n, "chassis", "power", "reset")
	if l, err := n.Console.WaitFor(ctx, mark, regexp.MustCompile(`Configuring \(net0|Booting from Hard`)); err != nil {
		t.Fatal(err)
	} else if network.MatchString(l.Text) {
		t.Error("the selector was for one boot, but the second one began with the network, too")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	ctx, rack := up(t, lab.NodeConfig{Name: "n1", MemoryMiB: 128}, lab.NodeConfig{Name: "n2", MemoryMiB: 128})
	var pids []int
	for _, n := range rack.Nodes {
		tool(t, ctx, n, "chassis", "power", "on")
		pids = append(pids, n.PID(), n.BMC.PID())
	}
	p, err := rack.StartProcess(ctx, "sleeper", "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	pids = append(pids, p.PID())
	if err := rack.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if exists(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if _, err := net.InterfaceByName(lab.Bridge); err == nil {
		t.Error("the bridge is still there")
	}
}

func TestBMCComesBack(t *testing.T) {
	ctx, rack := up(t, lab.NodeConfig{Name: "n1", MemoryMiB: 128})
	n := rack.Node("n1")
	tool(t, ctx, n, "chassis", "bootdev", "pxe")
	if err := unix.Kill(n.BMC.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for n.BMC.Restarts() == 0 {
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
		time.Sleep(10 * time.Millisecond)
	}
	for {
		state, err := n.Agree(ctx)
		if err == nil {
			if state.Selector != lab.SelectPXE {
				t.Errorf("selector %s after the BMC's restart, want pxe", state.Selector)
			}
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestUpRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		config lab.Config
		want   string
	}{
		"no directory":     {lab.Config{}, "a directory is required"},
		"long directory":   {lab.Config{Dir: "/tmp/" + strings.Repeat("x", 90)}, "at most 80"},
		"name":             {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "N 1"}}}, `name "N 1"`},
		"same name":        {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a"}, {Name: "a"}}}, "taken by another machine"},
		"pxe under bios":   {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", NetBoot: lab.FirmwarePXE}}}, "needs uefi"},
		"address":          {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", BMC: lab.BMCConfig{Address: "10.0.0.1"}}}}, "not in 192.168.77.0/24"},
		"quote in the key": {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", BMC: lab.BMCConfig{Password: `a"b`}}}}, "no blanks, quotes"},
		"SATA sectors":     {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", Disks: []lab.Disk{{Kind: lab.SATA, Sector: 4096}}}}}, "cannot have sectors of 4096"},
		"sectors":          {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", Disks: []lab.Disk{{Sector: 520}}}}}, "cannot have sectors of 520"},
		"rotation":         {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", Disks: []lab.Disk{{Kind: lab.SCSI, SSD: true, RPM: 7200}}}}}, "cannot rotate at 7200"},
		"disk kind":        {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", Disks: []lab.Disk{{Kind: "tape"}}}}}, `"tape" is none of`},
		"long serial":      {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", Disks: []lab.Disk{{Serial: strings.Repeat("7", 21)}}}}}, "longer than 20"},
		"comma":            {lab.Config{Dir: "x", Nodes: []lab.NodeConfig{{Name: "a", Disks: []lab.Disk{{Model: "a,b"}}}}}, `"a,b" holds a comma`},
		"accelerator":      {lab.Config{Dir: "x", Accel: "xen"}, `"xen" is neither`},
	} {
		t.Run(name, func(t *testing.T) {
			if rack, err := lab.Up(t.Context(), test.config); err == nil {
				rack.Close()
				t.Error("accepted")
			} else if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join("x")); err == nil {
		t.Error("a refused rack left its directory")
	}
}
