package generic

import (
	"context"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// lister is a vendor's manager that knows the disks better.
type lister struct{ asked int }

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
