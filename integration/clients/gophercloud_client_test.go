package clients_test

import (
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/allocations"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/conductors"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/drivers"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"
)

// TestGophercloud calls, as Terraform's providers do, what neither Metal3's
// calls nor gophercloud's own tests ask for.
func TestGophercloud(t *testing.T) {
	t.Parallel()
	c := startConductor(t, "")
	m := &metal3{T: t, client: noAuthClient(t, c), ctx: t.Context()}
	m.client.Microversion = "1.110"

	driver, err := drivers.GetDriverDetails(m.ctx, m.client, "ipmi").Extract()
	m.must("driver", err)
	if driver.Name != "ipmi" || driver.DefaultPowerInterface != "ipmitool" || len(driver.Hosts) != 1 {
		t.Errorf("driver ipmi is %+v", driver)
	}
	properties, err := drivers.GetDriverProperties(m.ctx, m.client, "ipmi").Extract()
	m.must("driver properties", err)
	if (*properties)["ipmi_address"] == nil {
		t.Errorf("properties of ipmi are %v; want ipmi_address among them", *properties)
	}
	disks, err := drivers.GetDriverDiskProperties(m.ctx, m.client, "fake-hardware").Extract()
	m.must("disk properties", err)
	if (*disks)["raid_level"] == nil {
		t.Errorf("properties of logical disks are %v; want raid_level among them", *disks)
	}
	conductor, err := conductors.Get(m.ctx, m.client, "clients").Extract()
	m.must("conductor", err)
	if !conductor.Alive || len(conductor.Drivers) != 2 {
		t.Errorf("the conductor is %+v; want it alive with two drivers", conductor)
	}

	node, err := nodes.Create(m.ctx, m.client, nodes.CreateOpts{Driver: "fake-hardware", Name: "cloudy", ResourceClass: "metal"}).Extract()
	m.must("create", err)
	m.node = node.UUID
	if _, err := nodes.Create(m.ctx, m.client, nodes.CreateOpts{Driver: "fake-hardware", Name: "cloudy"}).Extract(); !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Errorf("a second node of the name: %v; want 409", err)
	}
	port, err := ports.Create(m.ctx, m.client, ports.CreateOpts{NodeUUID: m.node, Address: "52:54:00:44:00:01"}).Extract()
	m.must("create a port", err)
	port, err = ports.Update(m.ctx, m.client, port.UUID, ports.UpdateOpts{ports.UpdateOperation{Op: ports.AddOp, Path: "/extra/slot", Value: 3}}).Extract()
	m.must("update a port", err)
	if port.Extra["slot"] != 3.0 {
		t.Errorf("the port has %v; want slot 3", port.Extra)
	}

	devices, err := nodes.GetSupportedBootDevices(m.ctx, m.client, m.node).Extract()
	m.must("boot devices", err)
	if len(devices) != 1 || devices[0] != "pxe" {
		t.Errorf("boot devices are %v; want pxe", devices)
	}
	m.must("boot device", nodes.SetBootDevice(m.ctx, m.client, m.node, nodes.BootDeviceOpts{BootDevice: "pxe", Persistent: true}).ExtractErr())
	if err := nodes.InjectNMI(m.ctx, m.client, m.node).ExtractErr(); !gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
		t.Errorf("an NMI for fake hardware: %v; want 400", err)
	}
	m.must("maintenance", nodes.SetMaintenance(m.ctx, m.client, m.node, nodes.MaintenanceOpts{Reason: "a new fan"}).ExtractErr())
	m.must("no maintenance", nodes.UnsetMaintenance(m.ctx, m.client, m.node).ExtractErr())

	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetManage}, "manageable")
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetProvide}, "available")
	m.power(nodes.PowerOff, 0, "power off")
	allocation, err := allocations.Create(m.ctx, m.client, allocations.CreateOpts{Name: "wanted", ResourceClass: "metal", CandidateNodes: []string{"cloudy"}}).Extract()
	m.must("allocate", err)
	m.until("an instance", func(node *nodes.Node) bool { return node.InstanceUUID == allocation.UUID })
	allocation, err = allocations.Get(m.ctx, m.client, "wanted").Extract()
	m.must("allocation", err)
	if allocation.State != "active" || allocation.NodeUUID != m.node {
		t.Errorf("the allocation is %+v; want it active on the node", allocation)
	}
	m.must("attach", nodes.AttachVirtualInterface(m.ctx, m.client, m.node, nodes.VirtualInterfaceOpts{ID: "200712fc-fdfb-47da-89a6-2d19f76c7618"}).ExtractErr())
	m.must("detach", nodes.DetachVirtualInterface(m.ctx, m.client, m.node, "200712fc-fdfb-47da-89a6-2d19f76c7618").ExtractErr())
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetActive}, "active")
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetRescue, RescuePassword: "secret"}, "rescue")
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetUnrescue}, "active")
	m.provision(nodes.ProvisionStateOpts{Target: nodes.TargetDeleted}, "available")
	if err := allocations.Get(m.ctx, m.client, "wanted").Err; !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		t.Errorf("the allocation of an undeployed node: %v; want 404", err)
	}
	m.must("delete", nodes.Delete(m.ctx, m.client, m.node).ExtractErr())
}
