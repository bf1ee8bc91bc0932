package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
	err = s.changeConductors(ctx, `INSERT INTO conductors (hostname, conductor_group, drivers, online, created_at, updated_at)
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
	return s.changeConductors(ctx, "UPDATE conductors SET online = TRUE, updated_at = ? WHERE hostname = ?", now(), hostname)
}

// UnregisterConductor marks a conductor that stops as offline.
func (s *Store) UnregisterConductor(ctx context.Context, hostname string) error {
	return s.changeConductors(ctx, "UPDATE conductors SET online = FALSE, updated_at = ? WHERE hostname = ?", now(), hostname)
}

// Conductors lists all conductors that were ever registered. They are asked
// for at every other request and change rarely, so they are kept in memory:
// nobody but this process writes them, and nobody changes the rows it is given.
func (s *Store) Conductors(ctx context.Context) ([]*Conductor, error) {
	changes := s.conductorChanges.Load()
	if known := s.conductors.Load(); known != nil && known.changes == changes {
		return slices.Clone(known.rows), nil
	}
	var rows []*Conductor
	if err := s.db.SelectContext(ctx, &rows, "SELECT * FROM conductors ORDER BY id"); err != nil {
		return nil, fmt.Errorf("list conductors: %w", err)
	}
	s.conductors.Store(&conductorList{changes, rows})
	return slices.Clone(rows), nil
}

// conductorList is what was read when there had been so many changes.
type conductorList struct {
	changes int64
	rows    []*Conductor
}

// changeConductors is exec for the table of conductors.
func (s *Store) changeConductors(ctx context.Context, query string, args ...any) error {
	defer s.conductorChanges.Add(1) // also where only the answer was lost
	_, err := s.exec(ctx, query, args...)
	return err
}
