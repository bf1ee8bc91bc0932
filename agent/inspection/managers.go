package inspection

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ofManagers stands for the collectors of the hardware managers. It cannot be
// configured: they always run.
const ofManagers = "hardware managers"

// failedCollectors is the member of the document with the hardware managers whose
// collectors failed, and why. They are not in the member "error", for which a
// conductor fails the whole inspection.
const failedCollectors = "failed_collectors"

// maxCollected bounds what a hardware manager adds, in bytes of JSON.
const maxCollected = 1 << 20

// reserved are members of the document, and those that a conductor adds to it.
func reserved() []string {
	return []string{
		"inventory", "root_disk", "boot_interface", "configuration", "error", "logs", "pci_devices", "numa_topology",
		"lldp_raw", "dmi", "usb_devices", "data", failedCollectors,
		"parsed_lldp", "all_interfaces", "valid_interfaces", "macs", "extra",
	}
}

// collectManagers adds what each hardware manager collects under its name. The
// error is of those that are required; the failures of the others stand in the document.
func collectManagers(ctx context.Context, o *Options, doc document) error {
	var needed []error
	failed := map[string]string{}
	for _, c := range o.Set.Collect(ctx, o.Host) {
		err := c.Err
		_, taken := doc[c.Manager]
		switch {
		case err != nil:
		case taken || slices.Contains(reserved(), c.Manager):
			err = errors.New("the inspection data have a member of this name already")
		case len(c.Data) > maxCollected:
			err = fmt.Errorf("its data have %d bytes, more than %d", len(c.Data), maxCollected)
		}
		switch {
		case err == nil:
			doc[c.Manager] = c.Data
		case c.Required:
			needed = append(needed, fmt.Errorf("%s: %w", c.Manager, err))
		default:
			o.Log.WithError(err).WithField("collector", c.Manager).Error("collector failed")
			failed[c.Manager] = err.Error()
		}
	}
	if len(failed) > 0 {
		doc[failedCollectors] = failed
	}
	return errors.Join(needed...)
}
