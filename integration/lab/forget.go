package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Forget removes what an earlier rack left in dir: its machines' disks and firmware variables, its conductor's
// database and logs. Whatever else is in dir stays.
func Forget(dir string) error {
	var errs []error
	for _, pattern := range []string{"ferric.sqlite*", "conductor.log"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil { // only for a malformed pattern, which dir cannot make it
			return fmt.Errorf("clear %s: %w", dir, err)
		}
		for _, f := range files {
			errs = append(errs, os.Remove(f))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(dir, "nodes")))...)
}
