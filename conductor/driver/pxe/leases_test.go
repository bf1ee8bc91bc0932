package pxe_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ferric/conductor/driver/pxe"
	"ferric/conductor/netboot"
	"ferric/conductor/store"
)

// Leases of both families are there again after a restart; a client has one
// address only, and an address one client.
func TestLeasesOutliveARestart(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "db")
	db, err := store.Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	lease := func(addr, client, mac string) netboot.Lease {
		return netboot.Lease{Address: netip.MustParseAddr(addr), Client: client, MAC: mac, Expires: at}
	}
	v4 := lease("192.0.2.7", "52:54:00:00:00:01", "52:54:00:00:00:01")
	v6 := lease("2001:db8::7", "00040102/00000001", "52:54:00:00:00:01")
	leases := pxe.Leases{Store: db}
	for _, l := range []netboot.Lease{lease("192.0.2.6", v4.Client, v4.MAC), v4, lease("2001:db8::7", "other/1", "02:00:00:00:00:02"), v6, lease("192.0.2.8", "x", "x")} {
		if err := leases.Save(ctx, l); err != nil {
			t.Fatal(err)
		}
	}
	if err := leases.Delete(ctx, netip.MustParseAddr("192.0.2.8")); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if db, err = store.Open(ctx, path); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got, err := pxe.Leases{Store: db}.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]netboot.Lease{v4, v6}, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}
