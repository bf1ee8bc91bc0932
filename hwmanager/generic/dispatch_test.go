package generic

import (
	"context"
	"path/filepath"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// lister is a vendor's manager that knows the disks better, and how to erase one
// of them.
type lister struct {
	asked  int
	erased []string
}

func (*lister) Name() string      { return "lister" }
func (*lister) ClassName() string { return "Lister" }
func (*lister) Version() string   { return "1" }
func (*lister) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.ServiceProvider, nil
}

func (l *lister) BlockDevices(context.Context, *hwmanager.Host, bool) ([]ipa.BlockDevice, error) {
	l.asked++
	return []ipa.BlockDevice{{Name: "/dev/vda"}}, nil
}

func (l *lister) EraseBlockDevice(_ context.Context, _ *hwmanager.Host, _ hwmanager.Node, device ipa.BlockDevice, report func(hwmanager.EraseProgress)) (ipa.DeviceErase, error) {
	if device.Name != "/dev/sda" {
		return ipa.DeviceErase{}, hwmanager.ErrNotHandled
	}
	l.erased = append(l.erased, device.Name)
	report(hwmanager.EraseProgress{Fraction: 1, Written: 1})
	return ipa.DeviceErase{Method: "degauss"}, nil
}

// TestEraseAsksForDisks: one disk is erased by the vendor's manager, the others
// are overwritten.
func TestEraseAsksForDisks(t *testing.T) {
	h := lab(t)
	shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
	for _, name := range []string{"vda", "sda"} {
		write(t, filepath.Join(h.Dev, name), mib, []byte("a secret"))
	}
	vendor, m := &lister{}, New()
	if _, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{vendor, m}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.eraseDevices(t.Context(), h, call(nil)); err != nil || len(vendor.erased) != 1 {
		t.Errorf("erased by the vendor's: %v; %v", vendor.erased, err)
	}
	if !isZero(t, filepath.Join(h.Dev, "vda")) || isZero(t, filepath.Join(h.Dev, "sda")) {
		t.Error("vda was not overwritten, or sda was")
	}
}

// TestFullSyncAsksForDisks: section "Base methods" of the agent contract lists
// what is dispatched.
func TestFullSyncAsksForDisks(t *testing.T) {
	h := lab(t)
	h.Guard.InRamdisk = true
	vendor, m := &lister{}, New()
	if _, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{vendor, m}); err != nil {
		t.Fatal(err)
	}
	if err := m.FullSync(t.Context(), h); err != nil || vendor.asked != 1 {
		t.Errorf("asked %d times, %v", vendor.asked, err)
	}
}
