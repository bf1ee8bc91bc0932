package generic

import (
	"errors"
	"fmt"
	"math"

	"ferric/hwmanager"
)

// eraseOptions are the keys of driver_internal_info that steer erasing (agent
// contract, section "erase_devices").
type eraseOptions struct {
	ata, nvme, scsi  bool // secure erase is wanted
	continueIfFailed bool // overwrite where a secure erase failed
	iterations       int
	zeroize          bool
	skipReadOnly     bool
	concurrency      int
}

// maxIterations bounds agent_erase_devices_iterations: more passes than any
// standard asks for are a mistake.
const maxIterations = 100

// Keys that have two names, the older one last.
var keysContinue = []string{"agent_continue_if_secure_erase_failed", "agent_continue_if_ata_erase_failed"}

func eraseOptionsOf(node hwmanager.Node) (eraseOptions, error) {
	o := eraseOptions{ata: true, nvme: true, scsi: true, iterations: 1, zeroize: true, concurrency: 1}
	info, _ := node["driver_internal_info"].(map[string]any)
	err := errors.Join(
		intOption(info, "agent_erase_devices_iterations", 0, maxIterations, &o.iterations),
		intOption(info, "disk_erasure_concurrency", 1, 1<<10, &o.concurrency),
		boolOption(info, "agent_erase_devices_zeroize", &o.zeroize),
		boolOption(info, "agent_erase_skip_read_only", &o.skipReadOnly),
		boolOption(info, "agent_enable_ata_secure_erase", &o.ata),
		boolOption(info, "agent_enable_nvme_secure_erase", &o.nvme),
		boolOption(info, "agent_enable_scsi_sanitize", &o.scsi), // of ferric's own
	)
	for _, key := range keysContinue {
		if value, given := info[key]; given && value != nil {
			err = errors.Join(err, boolOption(info, key, &o.continueIfFailed))
			break
		}
	}
	if err == nil && o.iterations == 0 && !o.zeroize {
		err = errors.New("agent_erase_devices_iterations is 0 and agent_erase_devices_zeroize is false: nothing would be erased")
	}
	return o, err
}

// passes is how often a disk is overwritten.
func (o eraseOptions) passes() int {
	if o.zeroize {
		return o.iterations + 1
	}
	return o.iterations
}

func intOption(info map[string]any, key string, least, most int, target *int) error {
	value, given := info[key]
	if !given || value == nil {
		return nil
	}
	n, ok := value.(float64)
	if !ok || n != math.Trunc(n) || n < float64(least) || n > float64(most) {
		return fmt.Errorf("%s must be an integer from %d to %d, not %v", key, least, most, value)
	}
	*target = int(n)
	return nil
}

func boolOption(info map[string]any, key string, target *bool) error {
	value, given := info[key]
	if !given || value == nil {
		return nil
	}
	truth, ok := value.(bool)
	if !ok {
		return fmt.Errorf("%s must be a boolean, not %v", key, value)
	}
	*target = truth
	return nil
}
