package pxe_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"ferric/conductor/driver"
	"ferric/conductor/driver/pxe"
	"ferric/conductor/netboot"
	"ferric/conductor/store"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestLoaderOfNode: what a machine is given follows from its node's boot
// interface, capabilities and driver_info, also of an instance.
func TestLoaderOfNode(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, tt := range []struct {
		name string
		node store.Node
		want netboot.Machine
	}{
		{"none", store.Node{}, netboot.Machine{Loader: netboot.LoaderIPXE, BootMode: "uefi"}},
		{"pxe, bios", store.Node{BootInterface: text("pxe"), Properties: store.Object{"capabilities": "boot_mode:bios"}},
			netboot.Machine{Loader: netboot.LoaderPXE, BootMode: "bios"}},
		{"http", store.Node{BootInterface: text("http")}, netboot.Machine{Loader: netboot.LoaderHTTP, BootMode: "uefi"}},
		{"http-ipxe", store.Node{BootInterface: text("http-ipxe")}, netboot.Machine{Loader: netboot.LoaderHTTPIPXE, BootMode: "uefi"}},
		{"for the instance", store.Node{BootInterface: text("ipxe"), InstanceInfo: store.Object{"boot_interface": "pxe"}},
			netboot.Machine{Loader: netboot.LoaderPXE, BootMode: "uefi"}},
		{"secure boot of the node", store.Node{BootInterface: text("pxe"), Properties: store.Object{"capabilities": "secure_boot:true"}},
			netboot.Machine{Loader: netboot.LoaderPXE, BootMode: "uefi", SecureBoot: true}},
		{"secure boot of the instance", store.Node{BootInterface: text("pxe"), InstanceInfo: store.Object{"capabilities": `{"secure_boot": "true"}`}},
			netboot.Machine{Loader: netboot.LoaderPXE, BootMode: "uefi", SecureBoot: true}},
		{"own boot loader", store.Node{BootInterface: text("pxe"), DriverInfo: store.Object{"bootloader": "mine.efi"}},
			netboot.Machine{Loader: netboot.LoaderPXE, BootMode: "uefi", Bootloader: "mine.efi"}},
		{"image for virtual media", store.Node{DriverInfo: store.Object{"bootloader": "http://h/esp.img"}},
			netboot.Machine{Loader: netboot.LoaderIPXE, BootMode: "uefi"}},
		{"image of Glance", store.Node{DriverInfo: store.Object{"bootloader": "9a2f1d3c-30d8-4d3c-9b0e-1f7a5f0c0a01"}},
			netboot.Machine{Loader: netboot.LoaderIPXE, BootMode: "uefi"}},
		{"other boot interface", store.Node{BootInterface: text("fake")}, netboot.Machine{Loader: netboot.LoaderIPXE, BootMode: "uefi"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db, n := openStore(t), tt.node
			n.UUID, n.Driver = uuid.NewString(), "ipmi"
			if err := db.CreateNode(t.Context(), &n); err != nil {
				t.Fatal(err)
			}
			port := &store.Port{UUID: uuid.NewString(), Address: "52:54:00:00:00:01", NodeID: n.ID, PXEEnabled: true}
			if err := db.CreatePort(t.Context(), port); err != nil {
				t.Fatal(err)
			}
			tt.want.NodeUUID, tt.want.Name, tt.want.Action = n.UUID, n.UUID, netboot.LocalDisk
			d := &pxe.Directory{Store: db, Fallback: true}
			mac, byUUID, err := d.Node(t.Context(), n.UUID)
			if err != nil {
				t.Fatal(err)
			}
			byMAC, err := d.Machine(t.Context(), mac)
			if err != nil {
				t.Fatal(err)
			}
			for how, got := range map[string]netboot.Machine{"by UUID": byUUID, "by MAC address": byMAC} {
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
			d.DefaultBootMode = "bios"
			mode := "bios"
			if tt.want.SecureBoot && tt.node.InstanceInfo != nil { // which only UEFI has
				mode = "uefi"
			}
			if got, err := d.Machine(t.Context(), mac); err != nil || got.BootMode != mode {
				t.Errorf("with default_boot_mode bios: %q, %v; want %q", got.BootMode, err, mode)
			}
			d.Fallback = false
			if got, err := d.Machine(t.Context(), mac); err != nil || got.Action != netboot.Ignore {
				t.Errorf("without fall-back: %v, %v", got.Action, err)
			}
		})
	}
}

func TestUnknownMachines(t *testing.T) {
	d := &pxe.Directory{Store: openStore(t)}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	if _, err := d.Machine(t.Context(), mac); !errors.Is(err, netboot.ErrUnknownMAC) {
		t.Errorf("without discovery: %v", err)
	}
	if _, _, err := d.Node(t.Context(), uuid.NewString()); !errors.Is(err, netboot.ErrUnknownMAC) {
		t.Errorf("unknown node: %v", err)
	}
	cfg := pxe.Config{APIURL: "http://h:6385", KernelParams: netboot.DefaultConfig().KernelParams}
	params := map[string]string{"ipa-inspection-callback-url": "http://h:6385/v1/continue_inspection", "ipa-collectors": "default,logs", "quiet": ""}
	if m := pxe.Discovery(cfg, &store.Node{}, params); m != nil {
		t.Errorf("nothing is configured, and %+v is booted", m)
	}
	cfg.DeployKernel, cfg.DeployRamdiskByArch = "/k", map[string]string{"x86_64": "http://h/r"}
	d.Unknown = pxe.Discovery(cfg, &store.Node{}, params)
	got, err := d.Machine(t.Context(), mac)
	if err != nil {
		t.Fatal(err)
	}
	want := netboot.Machine{Action: netboot.Ramdisk, Loader: netboot.LoaderIPXE, Kernel: "/k", Ramdisk: "http://h/r",
		Params: "selinux=0 troubleshoot=0 text nofb vga=normal ipa-api-url=http://h:6385 ipa-collectors=default,logs ipa-inspection-callback-url=http://h:6385/v1/continue_inspection quiet"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
}

// TestValidateLoader: what the firmware cannot be given is told before it boots.
func TestValidateLoader(t *testing.T) {
	absent := errors.New(`boot loader not found: "pxelinux.0"`)
	cfg := pxe.Config{DeployKernel: "/k", DeployRamdisk: "/r", DefaultBootMode: "bios", CheckLoader: func(m netboot.Machine, cpu string) error {
		if m.Loader == netboot.LoaderPXE && m.BootMode == "bios" && cpu == "x86_64" {
			return absent
		}
		return nil
	}}
	for _, tt := range []struct {
		loader netboot.Loader
		mode   string // without one, it is that of nodes that nothing is said of
		want   string
	}{
		{netboot.LoaderIPXE, "", ""},
		{netboot.LoaderPXE, "", "pxelinux.0"},
		{netboot.LoaderHTTP, "", "The boot interface http needs UEFI"},
		{netboot.LoaderIPXE, "bios", ""},
		{netboot.LoaderPXE, "uefi", ""},
		{netboot.LoaderPXE, "bios", "pxelinux.0"},
		{netboot.LoaderHTTP, "uefi", ""},
		{netboot.LoaderHTTP, "bios", "The boot interface http needs UEFI"},
		{netboot.LoaderHTTPIPXE, "bios", "The boot interface http-ipxe needs UEFI"},
	} {
		n := &store.Node{UUID: "u", Properties: store.Object{"cpu_arch": "x86_64"}}
		if tt.mode != "" {
			n.Properties["capabilities"] = "boot_mode:" + tt.mode
		}
		err := pxe.New(cfg, nil, tt.loader).Validate(t.Context(), n)
		var invalid *driver.InvalidParameterError
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s, %s: %v; want %q", tt.loader, tt.mode, err, tt.want)
		}
	}
}
