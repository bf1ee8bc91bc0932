package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Conductor is a row of conductors: one running conductor process.
type Conductor struct {
	ID             int64      `db:"id"`
	Hostname       string     `db:"hostname"`
	ConductorGroup string     `db:"conductor_group"`
	DriversJSON    string     `db:"drivers"`
	Online         bool       `db:"online"`
	CreatedAt      time.Time  `db:"created_at"`
	UpdatedAt      *time.Time `db:"updated_at"`
}

// Drivers lists the hardware types that the conductor serves.
func (c *Conductor) Drivers() []string {
	var d []string
	if json.Unmarshal([]byte(c.DriversJSON), &d) != nil {
		return nil
	}
	return d
}

// RegisterConductor writes the row of a conductor that starts.
func (s *Store) RegisterConductor(ctx context.Context, hostname, group string, drivers []string) error {
	b, err := json.Marshal(drivers)
	if err != nil {
		return err
	}
	t := now()
	_, err = s.exec(ctx, `INSERT INTO conductors (hostname, conductor_group, drivers, online, created_at, updated_at)
		VALUES (?, ?, ?, TRUE, ?, ?)
		ON CONFLICT (hostname) DO UPDATE SET conductor_group = excluded.conductor_group, drivers = excluded.drivers,
		online = TRUE, updated_at = excluded.updated_at`, hostname, group, string(b), t, t)
	if err != nil {
		return fmt.Errorf("register conductor %s: %w", hostname, err)
	}
	return nil
}

// TouchConductor keeps the row of a live conductor fresh.
func (s *Store) TouchConductor(ctx context.Context, hostname string) error {
	_, err := s.exec(ctx, "UPDATE conductors SET online = TRUE, updated_at = ? WHERE hostname = ?", now(), hostname)
	return err
}

// UnregisterConductor marks a conductor that stops as offline.
func (s *Store) UnregisterConductor(ctx context.Context, hostname string) error {
	_, err := s.exec(ctx, "UPDATE conductors SET online = FALSE, updated_at = ? WHERE hostname = ?", now(), hostname)
	return err
}

// Conductors lists all conductors that were ever registered.
func (s *Store) Conductors(ctx context.Context) ([]*Conductor, error) {
	var c []*Conductor
	err := s.db.SelectContext(ctx, &c, "SELECT * FROM conductors ORDER BY id")
	return c, err
}
