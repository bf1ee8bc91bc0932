package pxe_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

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

// TestBootDevice: what the BMC is told for a ramdisk, and for what was deployed.
func TestBootDevice(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	registry, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"fake-hardware"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := pxe.DefaultConfig()
	cfg.DeployKernel, cfg.DeployRamdisk, cfg.KernelParams = "/k", "/r", netboot.DefaultConfig().KernelParams
	boot := pxe.New(cfg, registry, netboot.LoaderIPXE)
	registry.Add(builtin.Implementations{Boot: map[string]driver.Boot{"ipxe": boot}})
	log := logrus.New()
	log.SetOutput(io.Discard)
	tasks := task.NewManager(t.Context(), task.Config{Host: "test", WorkersPoolSize: 1, LockRetryAttempts: 1, LockRetryInterval: time.Millisecond}, db, logrus.NewEntry(log))
	lenovo := func(capabilities string) store.Object {
		return store.Object{"vendor": "Lenovo", "capabilities": capabilities}
	}
	for _, tt := range []struct {
		name              string
		force             any
		properties        store.Object
		state             provision.State
		ramdisk, instance bool   // persistent
		device            string // in the end
	}{
		{"nothing said", nil, nil, provision.Deploying, false, true, driver.BootDisk},
		{"Default", "Default", nil, provision.Deploying, false, true, driver.BootDisk},
		{"Always", "Always", nil, provision.Deploying, true, true, driver.BootDisk},
		{"Never", "Never", nil, provision.Deploying, false, false, driver.BootDisk},
		{"true", true, nil, provision.Deploying, true, true, driver.BootDisk},
		{"True as text", "True", nil, provision.Deploying, true, true, driver.BootDisk},
		{"false", false, nil, provision.Deploying, false, true, driver.BootDisk},
		{"Lenovo", nil, lenovo(""), provision.Deploying, false, false, driver.BootPXE},
		{"Lenovo, bios", nil, lenovo("boot_mode:bios"), provision.Deploying, false, true, driver.BootDisk},
		{"Lenovo that ends its rescue", nil, lenovo(""), provision.Unrescuing, false, true, driver.BootDisk},
		{"adopted", nil, nil, provision.Adopting, false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: tt.state, Properties: tt.properties,
				DriverInfo: store.Object{}, DriverInternalInfo: store.Object{}}
			if tt.force != nil {
				n.DriverInfo["force_persistent_boot_device"] = tt.force
			}
			if err := registry.SetDefaults(n); err != nil {
				t.Fatal(err)
			}
			if err := db.CreateNode(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			err := tasks.Do(t.Context(), n.ID, "test", func(ctx context.Context, task *task.Task) error {
				check := func(device string, persistent bool) {
					t.Helper()
					info := task.Node.DriverInternalInfo
					if info.String("fake_boot_device") != device || info.Bool("fake_boot_device_persistent") != persistent {
						t.Errorf("the BMC was told %v, persistent %v; want %s, %v", info["fake_boot_device"], info["fake_boot_device_persistent"], device, persistent)
					}
				}
				if err := boot.PrepareRamdisk(ctx, task, nil); err != nil {
					return err
				}
				if tt.state != provision.Adopting {
					check(driver.BootPXE, tt.ramdisk)
				}
				if err := boot.PrepareInstance(ctx, task); err != nil {
					return err
				}
				check(tt.device, tt.instance)
				if task.Node.DriverInternalInfo[driver.KeyNetboot] != nil {
					t.Error("the ramdisk is still offered")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
