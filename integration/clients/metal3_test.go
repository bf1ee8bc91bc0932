package clients_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/noauth"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/drivers"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/utils"
)

// metal3 talks to the API as the provisioner of Metal3's baremetal-operator
// does, through the same library.
type metal3 struct {
	*testing.T
	client *gophercloud.ServiceClient
	ctx    context.Context
	node   string
}

// TestMetal3 makes the calls of Metal3's provisioner in its order, from the
// registration of a host to its removal.
func TestMetal3(t *testing.T) {
	t.Parallel()
	c := startConductor(t, "")
	m := &metal3{T: t, client: noAuthClient(t, c), ctx: t.Context()}
	m.connect()

	// register
	const mac = "52:54:00:33:00:01"
	for _, name := range []string{"metal3~worker", "worker"} {
		if err := nodes.Get(m.ctx, m.client, name).Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			t.Fatalf("a node that is not there: %v; want 404", err)
		}
	}
	m.wantPorts(ports.ListOpts{Address: mac, Fields: []string{"node_uuid", "uuid", "address"}}, 0)
	off, clean := false, true
	node, err := nodes.Create(m.ctx, m.client, nodes.CreateOpts{
		Driver: "fake-hardware", BootInterface: "fake", RAIDInterface: "no-raid", InspectInterface: "agent", Name: "metal3~worker",
		DriverInfo: map[string]any{"fake_username": "admin", "fake_password": "secret"}, DisablePowerOff: &off,
		Properties: map[string]any{"capabilities": "boot_mode:uefi", "cpu_arch": "x86_64"},
	}).Extract()
	m.must("create", err)
	m.node = node.UUID
	if node.ProvisionState != "enroll" || node.DriverInfo["fake_password"] != "******" {
		t.Errorf("created in state %q with %v; want enroll and a masked password", node.ProvisionState, node.DriverInfo)
	}
	m.wantPorts(ports.ListOpts{NodeUUID: m.node, Fields: []string{"node_uuid", "uuid", "address"}}, 0)
	_, err = ports.Create(m.ctx, m.client, ports.CreateOpts{NodeUUID: m.node, Address: mac, PXEEnabled: &clean}).Extract()
	m.must("create a port", err)
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetManage}, "manageable")
	m.set(map[string]any{"/driver_info/deploy_kernel": "http://127.0.0.1:9/k", "/driver_info/deploy_ramdisk": "http://127.0.0.1:9/r", "/automated_clean": clean})
	m.wantPorts(ports.ListOpts{NodeUUID: m.node}, 1)

	// inspect
	if err := nodes.GetInventory(m.ctx, m.client, m.node).Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("an inventory before the inspection: %v; want 404", err)
	}
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetInspect}, "inspect wait")
	m.inspected(c, mac)
	m.reaches("manageable")
	inventory, err := nodes.GetInventory(m.ctx, m.client, m.node).Extract()
	m.must("inventory", err)
	if got := inventory.Inventory; len(got.Interfaces) != 1 || got.Interfaces[0].MACAddress != mac || got.CPU.Count != 2 || got.Memory.PhysicalMb != 4096 {
		t.Errorf("the inventory is %+v; want what the ramdisk has told", got)
	}

	// firmware, capacity
	_, err = nodes.ListBIOSSettings(m.ctx, m.client, m.node, nodes.ListBIOSSettingsOpts{Detail: true}).Extract()
	m.must("BIOS settings", err)
	_, err = nodes.ListFirmware(m.ctx, m.client, m.node).Extract()
	m.must("firmware", err)
	pages, err := nodes.List(m.client, nodes.ListOpts{Fields: []string{"uuid", "name", "provision_state", "boot_interface"}}).AllPages(m.ctx)
	m.must("list", err)
	all, err := nodes.ExtractNodes(pages)
	m.must("list", err)
	if len(all) != 1 || all[0].BootInterface != "fake" || all[0].Driver != "" {
		t.Errorf("the list of some fields is %+v", all)
	}

	// prepare
	m.must("RAID", nodes.ChangeProvisionState(m.ctx, m.client, m.node, nodes.ProvisionStateOpts{Target: nodes.TargetClean, CleanSteps: []nodes.CleanStep{
		{Interface: nodes.InterfaceBIOS, Step: "apply_configuration", Args: map[string]any{"settings": []map[string]string{{"name": "hyper", "value": "on"}}}},
	}}).ExtractErr())
	m.reaches("manageable")
	settings, err := nodes.ListBIOSSettings(m.ctx, m.client, m.node, nodes.ListBIOSSettingsOpts{Detail: true}).Extract()
	m.must("BIOS settings", err)
	if len(settings) != 1 || settings[0].Name != "hyper" || settings[0].Value != "on" {
		t.Errorf("BIOS settings are %+v; want hyper=on", settings)
	}

	// provision
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetProvide}, "available")
	m.set(map[string]any{"/instance_uuid": "f7b9ac0e-73b3-4ae1-a9a6-3b5b34b4b9f6", "/instance_info/capabilities": map[string]any{}, "/instance_info/root_device": map[string]any{},
		"/instance_info/image_source": "http://127.0.0.1:9/os.qcow2", "/instance_info/image_os_hash_algo": "sha256",
		"/instance_info/image_os_hash_value": strings.Repeat("0", 64), "/driver_info/force_persistent_boot_device": "Default"})
	valid, err := nodes.Validate(m.ctx, m.client, m.node).Extract()
	m.must("validate", err)
	if !valid.Deploy.Result || !valid.Boot.Result || !valid.Power.Result {
		t.Errorf("validate: %+v; want deploy, boot and power to be right", valid)
	}
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetActive, ConfigDrive: nodes.ConfigDrive{
		MetaData: map[string]any{"name": "worker", "metal3-name": "worker"}, UserData: "#!/bin/sh\n", NetworkData: map[string]any{"links": []any{}, "networks": []any{}, "services": []any{}},
	}}, "active")

	// power
	m.power(nodes.PowerOn, 0, "power on")
	m.power(nodes.SoftPowerOff, 180, "power off")
	m.power(nodes.PowerOn, 0, "power on")
	m.power(nodes.PowerOff, 0, "power off")

	// a data image
	m.must("attach", nodes.AttachVirtualMedia(m.ctx, m.client, m.node, nodes.AttachVirtualMediaOpts{DeviceType: nodes.VirtualMediaCD, ImageURL: "http://127.0.0.1:9/cd.iso"}).ExtractErr())
	m.rests()
	m.must("detach", nodes.DetachVirtualMedia(m.ctx, m.client, m.node, nodes.DetachVirtualMediaOpts{DeviceTypes: []nodes.VirtualMediaDeviceType{nodes.VirtualMediaCD}}).ExtractErr())
	m.rests()

	// servicing; a subscription to events, which is Redfish's
	m.must("service", nodes.ChangeProvisionState(m.ctx, m.client, m.node, nodes.ProvisionStateOpts{Target: nodes.TargetService, ServiceSteps: []nodes.ServiceStep{{Interface: nodes.InterfaceDeploy, Step: nodes.StepReboot}}}).ExtractErr())
	m.reaches("active")
	err = nodes.CreateSubscription(m.ctx, m.client, m.node, nodes.CallVendorPassthruOpts{Method: "create_subscription"}, nodes.CreateSubscriptionOpts{Destination: "http://127.0.0.1:9"}).Err
	if !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
		t.Errorf("a subscription without Redfish: %v; want 400", err)
	}

	// deprovision, and delete as Detach does
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetDeleted}, "available")
	m.remove("/instance_uuid")
	m.must("delete", nodes.Delete(m.ctx, m.client, m.node).ExtractErr())
	if err := nodes.Get(m.ctx, m.client, m.node).Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Fatalf("a deleted node: %v; want 404", err)
	}

	// adopt a host that others have provisioned, and take it into maintenance to remove it
	node, err = nodes.Create(m.ctx, m.client, nodes.CreateOpts{Driver: "fake-hardware", BootInterface: "fake", Name: "metal3~worker"}).Extract()
	m.must("create", err)
	m.node = node.UUID
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetManage}, "manageable")
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetAdopt}, "active")
	if err := nodes.Delete(m.ctx, m.client, m.node).ExtractErr(); !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Errorf("deleting an active node: %v; want 409", err)
	}
	m.set(map[string]any{"/maintenance": true})
	m.must("delete", nodes.Delete(m.ctx, m.client, m.node).ExtractErr())
}

// noAuthClient is gophercloud's client of the API.
func noAuthClient(t *testing.T, c *conductor) *gophercloud.ServiceClient {
	t.Helper()
	client, err := noauth.NewBareMetalNoAuth(noauth.EndpointOpts{IronicEndpoint: c.endpoint + "/v1"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (m *metal3) must(what string, err error) {
	m.Helper()
	if err != nil {
		m.Fatalf("%s: %v", what, err)
	}
}

// connect negotiates and waits for drivers, as at the beginning of every reconciliation.
func (m *metal3) connect() {
	m.Helper()
	versions, err := utils.GetSupportedMicroversions(m.ctx, m.client)
	m.must("versions", err)
	if versions.MaxMajor != 1 || versions.MaxMinor < 110 {
		m.Fatalf("the newest version is %d.%d; want 1.110 at least", versions.MaxMajor, versions.MaxMinor)
	}
	m.client.Microversion = "1.110"
	pages, err := drivers.ListDrivers(m.client, drivers.ListDriversOpts{}).AllPages(m.ctx)
	m.must("drivers", err)
	found, err := drivers.ExtractDrivers(pages)
	m.must("drivers", err)
	var names []string
	for _, driver := range found {
		names = append(names, driver.Name)
	}
	if diff := cmp.Diff([]string{"fake-hardware", "ipmi"}, names); diff != "" {
		m.Fatalf("drivers (-want +got):\n%s", diff)
	}
}

func (m *metal3) wantPorts(opts ports.ListOpts, count int) {
	m.Helper()
	pages, err := ports.List(m.client, opts).AllPages(m.ctx)
	m.must("ports", err)
	found, err := ports.ExtractPorts(pages)
	m.must("ports", err)
	if len(found) != count {
		m.Errorf("%+v: %+v; want %d", opts, found, count)
	}
}

// provision sends a verb and waits for the state.
func (m *metal3) provision(opts nodes.ProvisionStateOpts, state string) {
	m.Helper()
	m.must(string(opts.Target), nodes.ChangeProvisionState(m.ctx, m.client, m.node, opts).ExtractErr())
	m.reaches(state)
}

// reaches waits until the node rests in the state.
func (m *metal3) reaches(state string) {
	m.Helper()
	m.until(state, func(node *nodes.Node) bool { return node.ProvisionState == state && node.Reservation == "" })
}

// rests waits until nothing is done to the node.
func (m *metal3) rests() {
	m.Helper()
	m.until("no reservation", func(node *nodes.Node) bool { return node.Reservation == "" })
}

func (m *metal3) until(what string, is func(*nodes.Node) bool) {
	m.Helper()
	for deadline := time.Now().Add(objectPatience); ; time.Sleep(20 * time.Millisecond) {
		node, err := nodes.Get(m.ctx, m.client, m.node).Extract()
		m.must("get", err)
		if is(node) {
			return
		}
		if strings.HasSuffix(node.ProvisionState, "failed") || time.Now().After(deadline) {
			m.Fatalf("the node is %q, power %q, reserved by %q, last error %q; want %s", node.ProvisionState, node.PowerState, node.Reservation, node.LastError, what)
		}
	}
}

// power asks for a change of power and waits for it.
func (m *metal3) power(target nodes.TargetPowerState, timeout int, state string) {
	m.Helper()
	m.must(string(target), nodes.ChangePowerState(m.ctx, m.client, m.node, nodes.PowerStateOpts{Target: target, Timeout: timeout}).ExtractErr())
	m.until(state, func(node *nodes.Node) bool {
		return node.PowerState == state && node.TargetPowerState == "" && node.Reservation == ""
	})
}

// set patches as the operator does: it only ever adds.
func (m *metal3) set(values map[string]any) {
	m.Helper()
	var opts nodes.UpdateOpts
	for path, value := range values {
		opts = append(opts, nodes.UpdateOperation{Op: nodes.AddOp, Path: path, Value: value})
	}
	m.must("patch", nodes.Update(m.ctx, m.client, m.node, opts).Err)
}

func (m *metal3) remove(path string) {
	m.Helper()
	err := nodes.Update(m.ctx, m.client, m.node, nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.RemoveOp, Path: path}}).Err
	// The operator ignores that there is nothing to remove.
	if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
		m.Errorf("remove %s: %v", path, err)
	}
}

// inspected reports what a ramdisk has found, as it does, without a version.
func (m *metal3) inspected(c *conductor, mac string) {
	m.Helper()
	m.rests()
	body := `{"inventory": {"interfaces": [{"name": "eth0", "mac_address": "` + mac + `", "ipv4_address": "172.22.0.5", "has_carrier": true}],
		"cpu": {"model_name": "x", "count": 2, "architecture": "x86_64", "frequency": "2000"}, "memory": {"total": 4294967296, "physical_mb": 4096},
		"disks": [{"name": "/dev/sda", "size": 10737418240, "rotational": false}], "boot": {"current_boot_mode": "uefi", "pxe_interface": "` + mac + `"},
		"system_vendor": {"manufacturer": "m", "product_name": "p", "serial_number": "s"}, "hostname": "worker"},
		"root_disk": {"name": "/dev/sda", "size": 10737418240}, "boot_interface": "` + mac + `"}`
	resp, err := http.Post(c.endpoint+"/v1/continue_inspection", "application/json", strings.NewReader(body))
	m.must("continue_inspection", err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		m.Fatalf("continue_inspection: status %d; want 202", resp.StatusCode)
	}
}
