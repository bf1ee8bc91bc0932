package pxe

import (
	"context"
	"fmt"
	"net/netip"

	"ferric/conductor/netboot"
	"ferric/conductor/store"
)

// Leases keeps the leases of the DHCP service in the database.
type Leases struct{ Store *store.Store }

// Load implements netboot.LeaseStore.
func (l Leases) Load(ctx context.Context) ([]netboot.Lease, error) {
	rows, err := l.Store.Leases(ctx)
	if err != nil {
		return nil, err
	}
	var leases []netboot.Lease
	for _, row := range rows {
		addr, err := netip.ParseAddr(row.Address)
		if err != nil {
			return nil, fmt.Errorf("the DHCP lease of %q: %w", row.Address, err)
		}
		leases = append(leases, netboot.Lease{Address: addr, Client: row.Client, MAC: row.MAC, Expires: row.Expires})
	}
	return leases, nil
}

// Save implements netboot.LeaseStore.
func (l Leases) Save(ctx context.Context, lease netboot.Lease) error {
	return l.Store.SaveLease(ctx, store.Lease{Address: lease.Address.String(), Client: lease.Client, MAC: lease.MAC, Expires: lease.Expires})
}

// Delete implements netboot.LeaseStore.
func (l Leases) Delete(ctx context.Context, address netip.Addr) error {
	return l.Store.DeleteLease(ctx, address.String())
}

var _ netboot.LeaseStore = Leases{}
