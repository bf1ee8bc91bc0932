package pxe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/pxe"
	"ferric/conductor/netboot"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// TestRamdiskInstance: an instance that is a ramdisk, or an ISO image, is what
// the machine boots while it is active.
func TestRamdiskInstance(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name, address := "ramdisk", "52:54:00:00:00:01"
	n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", DeployInterface: &name, ProvisionState: provision.Deploying, DriverInternalInfo: store.Object{}}
	registry, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"fake-hardware"}})
	if err != nil {
		t.Fatal(err)
	}
	params := netboot.DefaultConfig()
	cfg := pxe.DefaultConfig()
	cfg.AppendParams = params.AppendParams
	boot := pxe.New(cfg, registry, netboot.LoaderIPXE)
	registry.Add(builtin.Implementations{Boot: map[string]driver.Boot{"ipxe": boot}, Deploy: map[string]driver.Deploy{"ramdisk": nil}})
	if err := registry.SetDefaults(n); err != nil {
		t.Fatal(err)
	}
	if err := db.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := db.CreatePort(t.Context(), &store.Port{UUID: uuid.NewString(), Address: address, NodeID: n.ID, PXEEnabled: true}); err != nil {
		t.Fatal(err)
	}
	mac, _ := net.ParseMAC(address)
	log := logrus.New()
	log.SetOutput(io.Discard)
	tasks := task.NewManager(t.Context(), task.Config{Host: "test", WorkersPoolSize: 1, LockRetryAttempts: 1, LockRetryInterval: time.Millisecond}, db, logrus.NewEntry(log))
	for _, tt := range []struct {
		info store.Object
		want netboot.Machine
	}{
		{store.Object{"kernel": "http://h/k", "ramdisk": "/var/lib/ferric/r", "ramdisk_kernel_arguments": "a=b"},
			netboot.Machine{Action: netboot.Ramdisk, Kernel: "http://h/k", Ramdisk: "/var/lib/ferric/r", Params: "root=/dev/ram0 text nofb vga=normal a=b"}},
		{store.Object{"boot_iso": "http://h/live.iso", "kernel": "http://h/k"}, netboot.Machine{Action: netboot.BootISO, ISO: "http://h/live.iso"}},
	} {
		err := tasks.Do(t.Context(), n.ID, "test", func(ctx context.Context, task *task.Task) error {
			task.Node.InstanceInfo = tt.info
			if err := boot.PrepareInstance(ctx, task); err != nil {
				return err
			}
			if task.Node.DriverInternalInfo["fake_boot_device"] != driver.BootPXE || !task.Node.DriverInternalInfo.Bool("fake_boot_device_persistent") {
				t.Errorf("boot device of %v: %v", tt.info, task.Node.DriverInternalInfo)
			}
			task.Node.ProvisionState = provision.Active
			return task.Save(ctx)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&pxe.Directory{Store: db, Fallback: true}).Machine(t.Context(), mac)
		if err != nil {
			t.Fatal(err)
		}
		tt.want.NodeUUID, tt.want.Name, tt.want.Loader, tt.want.BootMode = n.UUID, n.UUID, netboot.LoaderIPXE, "uefi"
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("machine (-want +got):\n%s", diff)
		}
	}
	var invalid *driver.InvalidParameterError
	for _, info := range []store.Object{{"boot_iso": "/etc/shadow"}, {"boot_iso": "ftp://h/i"}, {"kernel": "http://h/k", "ramdisk": "file:///etc/shadow"}, {"kernel": "k", "ramdisk": "r"}} {
		n.InstanceInfo = info
		if err := boot.ValidateInstance(t.Context(), n); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "instance_info") {
			t.Errorf("%v: %v", info, err)
		}
	}
}
