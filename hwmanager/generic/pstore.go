package generic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ferric/hwmanager"
)

// erasePstore deletes what kernels left in the persistent storage of the
// firmware when they crashed; where no pstore is mounted there is nothing to do.
func (m *Manager) erasePstore(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args); err != nil {
		return nil, err
	}
	dir, err := pstoreMount(h)
	if err != nil {
		return nil, fmt.Errorf("erase pstore: %w", err)
	}
	if dir == "" {
		return nil, nil
	}
	records, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("erase pstore: %w", err)
	}
	var failures []error
	for _, r := range records {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("erase pstore: %w", context.Cause(ctx))
		}
		if err := os.RemoveAll(filepath.Join(dir, r.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("erase pstore: %w", err)
	}
	h.Log.WithField("records", len(records)).Info("pstore erased")
	return nil, nil
}

// pstoreMount is where pstore is mounted, "" if it is not.
func pstoreMount(h *hwmanager.Host) (string, error) {
	mounts, err := os.ReadFile(filepath.Join(h.Proc, "mounts"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "pstore" {
			return unescapeMount(fields[1]), nil
		}
	}
	return "", nil
}

// unescapeMount undoes the octal notation of blanks and backslashes in tables of
// file systems (proc(5), getmntent(3)).
func unescapeMount(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#").Replace(field)
}
