package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Lease is a row of dhcp_leases: an address that the DHCP service gave away.
type Lease struct {
	Address string    `db:"address"`
	Client  string    `db:"client"`
	MAC     string    `db:"mac"`
	Expires time.Time `db:"expires"`
}

// Leases lists all leases, the expired ones included.
func (s *Store) Leases(ctx context.Context) ([]Lease, error) {
	var rows []Lease
	if err := s.db.SelectContext(ctx, &rows, "SELECT * FROM dhcp_leases ORDER BY expires DESC, address"); err != nil {
		return nil, fmt.Errorf("list DHCP leases: %w", err)
	}
	return rows, nil
}

// SaveLease inserts a lease, in place of that of the same address and of the one
// that the same client had before.
func (s *Store) SaveLease(ctx context.Context, l Lease) error {
	err := s.write(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.Exec("DELETE FROM dhcp_leases WHERE client = ? AND address <> ?", l.Client, l.Address); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO dhcp_leases (address, client, mac, expires) VALUES (?, ?, ?, ?)
			ON CONFLICT (address) DO UPDATE SET client = excluded.client, mac = excluded.mac, expires = excluded.expires`,
			l.Address, l.Client, l.MAC, l.Expires.UTC())
		return err
	})
	if err != nil {
		return fmt.Errorf("save the DHCP lease of %s: %w", l.Address, err)
	}
	return nil
}

// DeleteLease removes the lease of an address, if there is one.
func (s *Store) DeleteLease(ctx context.Context, address string) error {
	err := s.write(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.Exec("DELETE FROM dhcp_leases WHERE address = ?", address)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete the DHCP lease of %s: %w", address, err)
	}
	return nil
}
