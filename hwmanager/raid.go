package hwmanager

import "context"

// RAIDValidator finds everything that is wrong with a RAID configuration for this
// machine, in one error of kind ipa.SoftwareRAID, and writes nothing
// (validate_configuration).
type RAIDValidator interface {
	ValidateRAID(ctx context.Context, h *Host, node Node, config map[string]any) error
}
