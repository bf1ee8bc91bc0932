package disk

import (
	"context"
	"errors"
	"fmt"
)

// Wipe removes what identifies the content of the disk or partition at path:
// partition tables, RAID superblocks and file-system signatures at both ends.
func Wipe(ctx context.Context, path string) error {
	return fmt.Errorf("wipe metadata of %s: %w", path, errors.ErrUnsupported)
}
