package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// CipherSuite is the RMCP+ cipher suite that a BMC took last, by its address and
// port; 0 is not known.
func (s *Store) CipherSuite(ctx context.Context, endpoint string) (suite int, err error) {
	err = s.db.GetContext(ctx, &suite, "SELECT cipher_suite FROM bmcs WHERE endpoint = ?", endpoint)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("cipher suite of BMC %s: %w", endpoint, err)
	}
	return suite, nil
}

// SetCipherSuite remembers it.
func (s *Store) SetCipherSuite(ctx context.Context, endpoint string, suite int) error {
	err := s.write(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.Exec("INSERT INTO bmcs (endpoint, cipher_suite) VALUES (?, ?) ON CONFLICT (endpoint) DO UPDATE SET cipher_suite = excluded.cipher_suite", endpoint, suite)
		return err
	})
	if err != nil {
		return fmt.Errorf("remember the cipher suite of BMC %s: %w", endpoint, err)
	}
	return nil
}
