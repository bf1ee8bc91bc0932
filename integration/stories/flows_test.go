package stories_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

// TestEveryFlow takes a machine of each firmware through all verbs: inspection,
// manual and automated cleaning, deployment, service, rescue, rebuild, and
// being taken over as it runs. After each that ends in it, the system boots.
func TestEveryFlow(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" { // make test-full
		return
	}
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.UEFI} {
		t.Run(string(firmware), func(t *testing.T) {
			site, image := open(t, lab.NodeConfig{Name: "machine", Firmware: firmware, MemoryMiB: 512, Disks: []lab.Disk{{Kind: lab.Virtio}}}, osimage.Options{},
				stories.Options{Config: "[DEFAULT]\nenabled_inspect_interfaces = agent,no-inspect\nenabled_rescue_interfaces = agent,no-rescue\n"})
			m, err := site.Machine("machine", image.QCOW2, "qcow2")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
			defer cancel()
			everyFlow(t, ctx, site, m)
		})
	}
}

func everyFlow(t *testing.T, ctx context.Context, site *stories.Site, m *stories.Machine) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	// step does what it says, and has the system boot where booted is set.
	step := func(name string, booted bool, do func() error) {
		t.Helper()
		line := m.Console.Mark()
		must(do())
		if booted {
			_, err := m.Booted(ctx, line)
			must(err)
		}
		t.Logf("%5.0f s: %s", time.Since(began).Seconds(), name)
	}
	verb := func(r ironic.ProvisionRequest, end string) func() error {
		return func() error { return m.Provision(ctx, r, end) }
	}
	burnIn := ironic.Step{Interface: "deploy", Step: "burnin_cpu"}

	must(m.Enrol(ctx))
	_, err := site.API.UpdateNode(ctx, m.Name, ironic.Patch{
		{Op: "add", Path: "/inspect_interface", Value: "agent"}, {Op: "add", Path: "/rescue_interface", Value: "agent"},
		{Op: "add", Path: "/driver_info/agent_burnin_cpu_timeout", Value: 5},
	})
	must(err)
	step("manage", false, verb(ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable))
	step("inspect", false, verb(ironic.ProvisionRequest{Target: ironic.VerbInspect}, ironic.StateManageable))
	var found struct {
		Inventory struct{ Disks []struct{ Serial string } }
	}
	must(site.API.Do(ctx, "GET", "/v1/nodes/"+m.Name+"/inventory", nil, nil, &found))
	if len(found.Inventory.Disks) != 1 || found.Inventory.Disks[0].Serial != m.Config.Disks[0].Serial {
		t.Errorf("inspection found the disks %v; want that with the serial number %s", found.Inventory.Disks, m.Config.Disks[0].Serial)
	}
	step("manual clean", false, verb(ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{burnIn, {Interface: "deploy", Step: "erase_devices_metadata"}}}, ironic.StateManageable))
	step("provide", false, verb(ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable))
	step("deploy", true, func() error { return m.Deploy(ctx, false) })
	step("service", true, verb(ironic.ProvisionRequest{Target: ironic.VerbService, ServiceSteps: []ironic.Step{burnIn}}, ironic.StateActive))
	step("rescue", false, verb(ironic.ProvisionRequest{Target: ironic.VerbRescue, RescuePassword: "a word to rescue with"}, ironic.StateRescue))
	must(answersSSH(ctx, site, m))
	step("unrescue", true, verb(ironic.ProvisionRequest{Target: ironic.VerbUnrescue}, ironic.StateActive))
	step("rebuild", true, func() error { return m.Rebuild(ctx) })
	step("undeploy", false, verb(ironic.ProvisionRequest{Target: ironic.VerbDeleted}, ironic.StateAvailable))
	step("deploy once more", true, func() error { return m.Deploy(ctx, false) })
	// The node is forgotten, and taken over as it runs.
	must(site.API.SetMaintenance(ctx, m.Name, "to be forgotten"))
	must(site.API.DeleteNode(ctx, m.Name))
	must(m.Enrol(ctx))
	for _, v := range []struct{ verb, end string }{{ironic.VerbManage, ironic.StateManageable}, {ironic.VerbAdopt, ironic.StateActive}} {
		step(v.verb+" what runs", false, func() error {
			if err := site.API.SetProvisionState(ctx, m.Name, ironic.ProvisionRequest{Target: v.verb}); err != nil {
				return err
			}
			n, err := site.API.WaitProvision(ctx, m.Name, []string{v.end}, nil)
			if err == nil && (n.PowerState == nil || *n.PowerState != ironic.PowerOn) {
				err = fmt.Errorf("after %s the node is not on", v.verb)
			}
			return err
		})
	}
}

// answersSSH waits until the machine's SSH server greets, at the address that
// it was given last.
func answersSSH(ctx context.Context, site *stories.Site, m *stories.Machine) error {
	events, err := site.API.Events(ctx, m.Name)
	if err != nil {
		return err
	}
	address := ""
	for _, e := range events {
		if rest, ok := strings.CutPrefix(e.Detail, "address "); ok && e.Kind == "dhcp" {
			address, _, _ = strings.Cut(rest, ",")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(address, "22"))
		if err == nil {
			greeting := make([]byte, 4)
			_, err = conn.Read(greeting)
			conn.Close()
			if string(greeting) == "SSH-" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no SSH server answers at %q: %w", address, err)
		case <-time.After(time.Second):
		}
	}
}
