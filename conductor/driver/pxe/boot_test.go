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
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func TestValidate(t *testing.T) {
	var missing *driver.MissingParameterError
	var invalid *driver.InvalidParameterError
	for _, tt := range []struct {
		name string
		cfg  pxe.Config
		info store.Object
		kind any
		want string
	}{
		{"configured", pxe.Config{DeployKernel: "/k", DeployRamdisk: "/r"}, nil, nil, ""},
		{"of the node", pxe.DefaultConfig(), store.Object{"deploy_kernel": "http://h/k", "deploy_ramdisk": "file:///var/lib/ferric/r"}, nil, ""},
		{"no kernel", pxe.Config{DeployRamdisk: "/r"}, nil, &missing, "Missing are: ['deploy_kernel']"},
		{"no ramdisk", pxe.Config{DeployKernel: "/k"}, nil, &missing, "Missing are: ['deploy_ramdisk']"},
		{"neither", pxe.Config{}, nil, &missing, "Missing are: ['deploy_kernel', 'deploy_ramdisk']"},
		{"relative", pxe.Config{DeployKernel: "/k"}, store.Object{"deploy_ramdisk": "r.img"}, &invalid, `"r.img"`},
		{"file of the conductor's", pxe.DefaultConfig(), store.Object{"deploy_kernel": "/etc/shadow", "deploy_ramdisk": "http://h/r"}, &invalid, "[conductor]file_url_allowed_paths"},
		{"out of the directory", pxe.DefaultConfig(), store.Object{"deploy_kernel": "file:///var/lib/ferric/../../../etc/shadow", "deploy_ramdisk": "http://h/r"}, &invalid, "/etc/shadow"},
		{"scheme", pxe.Config{DeployRamdisk: "/r"}, store.Object{"deploy_kernel": "glance://x"}, &invalid, `"glance://x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := pxe.New(tt.cfg, nil, netboot.LoaderIPXE).Validate(t.Context(), &store.Node{UUID: "u", DriverInfo: tt.info})
			if tt.kind == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.As(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %T with %q", err, tt.kind, tt.want)
			}
		})
	}
}

func TestConfigured(t *testing.T) {
	cfg := pxe.Config{DeployKernel: "/k", DeployRamdisk: "/r", DeployKernelByArch: map[string]string{"aarch64": "/k64"}, RescueRamdisk: "/rescue"}
	for _, tt := range []struct {
		arch  string
		state provision.State
		want  string
	}{
		{"x86_64", provision.CleanWait, "/k /r"},
		{"aarch64", provision.CleanWait, "/k64 /r"},
		{"aarch64", provision.RescueWait, "/k64 /rescue"},
	} {
		kernel, ramdisk, err := pxe.New(cfg, nil, netboot.LoaderIPXE).Files(&store.Node{ProvisionState: tt.state, Properties: store.Object{"cpu_arch": tt.arch}})
		if got := kernel + " " + ramdisk; err != nil || got != tt.want {
			t.Errorf("%s in %s: %s, %v; want %s", tt.arch, tt.state, got, err, tt.want)
		}
	}
}

func TestDirectory(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n := &store.Node{UUID: uuid.NewString(), Driver: "ipmi", ProvisionState: provision.CleanWait, DriverInternalInfo: store.Object{}}
	if err := db.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	p := &store.Port{UUID: uuid.NewString(), Address: "52:54:00:00:00:01", NodeID: n.ID, PXEEnabled: true}
	if err := db.CreatePort(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	mac, _ := net.ParseMAC(p.Address)
	ask := func(want netboot.Machine) {
		t.Helper()
		want.NodeUUID, want.Name, want.Loader, want.BootMode = n.UUID, n.UUID, netboot.LoaderIPXE, "uefi"
		got, err := (&pxe.Directory{Store: db, Fallback: true}).Machine(t.Context(), mac)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("machine (-want +got):\n%s", diff)
		}
	}
	save := func() {
		t.Helper()
		if err := errors.Join(db.SaveNode(t.Context(), n), db.SavePort(t.Context(), p)); err != nil {
			t.Fatal(err)
		}
	}
	ask(netboot.Machine{Action: netboot.LocalDisk})
	n.DriverInternalInfo[driver.KeyNetboot] = map[string]any{"kernel": "/k", "ramdisk": "/r", "params": "a=b"}
	save()
	ask(netboot.Machine{Action: netboot.Ramdisk, Kernel: "/k", Ramdisk: "/r", Params: "a=b"})
	n.ProvisionState = provision.Active // whatever is left in the row
	save()
	ask(netboot.Machine{Action: netboot.LocalDisk})
	p.PXEEnabled = false
	save()
	ask(netboot.Machine{Action: netboot.Ignore})
	other, _ := net.ParseMAC("52:54:00:00:00:02")
	if _, err := (&pxe.Directory{Store: db}).Machine(t.Context(), other); !errors.Is(err, netboot.ErrUnknownMAC) {
		t.Errorf("an unknown address gives %v; want %v", err, netboot.ErrUnknownMAC)
	}
}
