package firmware

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"ferric/hwmanager/capsule"
	"ferric/hwmanager/nvme"
)

// Kinds of components.
const (
	kindNVMe = "nvme"
	kindUEFI = "uefi"
)

// Ways to deliver a capsule.
const (
	deliverBest   = "auto"
	deliverMemory = "memory"
	deliverDisk   = "disk"
)

// arguments are those of update_firmware.
type arguments struct {
	Components []component `json:"components" required:"true" min:"1" max:"32" doc:"Firmware to update, in this order. Each has component (nvme or uefi), url, checksum, version; nvme: model (a pattern), and optionally device, serial, slot, activate, allow_shared; uefi: optionally guid, delivery; both: wait (seconds)."`
}

// component is firmware for one kind of device.
type component struct {
	Component string        `json:"component" required:"true" enum:"nvme,uefi" doc:"nvme: drives; uefi: what the EFI System Resource Table lists."`
	URL       string        `json:"url" required:"true" min:"1" doc:"Where the image or capsule is, http or https."`
	Checksum  string        `json:"checksum" required:"true" min:"1" doc:"Its SHA-256 or SHA-512."`
	Version   string        `json:"version" doc:"nvme (required): firmware revision that drives show with this image. uefi: version of the capsule, decimal or 0x…; required where the capsule does not tell it, and for a downgrade."`
	Wait      time.Duration `json:"wait" min:"0s" max:"1h" doc:"How long to wait after it, in seconds."`

	Model       string `json:"model" doc:"nvme (required): pattern of the models that the image is for, such as \"ACME X100*\"; all drives that match are updated."`
	Device      string `json:"device" doc:"nvme: only this controller or disk, such as nvme0."`
	Serial      string `json:"serial" doc:"nvme: only the drive with this serial number."`
	Slot        int    `json:"slot" min:"0" max:"7" doc:"nvme: slot that the image goes to; 0 or none: one that is not running."`
	Activate    string `json:"activate" default:"auto" enum:"auto,reset,immediate,reboot" doc:"nvme: how the image becomes the one that runs."`
	AllowShared bool   `json:"allow_shared" doc:"nvme: update drives that other machines may be using, too."`

	GUID     string `json:"guid" doc:"uefi: class in the table that the capsule has to be for."`
	Delivery string `json:"delivery" default:"auto" enum:"auto,memory,disk" doc:"uefi: how the firmware gets the capsule: in memory, or on the EFI system partition."`
}

// Validate finds what is wrong with a component as a whole.
func (c component) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	switch c.Component {
	case kindNVMe:
		fault(c.Model == "", "model is required: an image does not tell what it is for")
		fault(strings.Trim(c.Model, "*? ") == "" && c.Model != "", "model %q matches every drive", c.Model)
		_, err := path.Match(c.Model, "")
		fault(err != nil, "model %q is no pattern", c.Model)
		fault(c.Version == "", "version is required: it is how an update is verified")
		fault(len(c.Version) > 8, "version %q is longer than the 8 characters of a drive's firmware revision", c.Version)
		fault(c.Version != strings.TrimSpace(c.Version), "version %q has blanks around it", c.Version)
		fault(c.GUID != "" || c.Delivery != "" && c.Delivery != deliverBest, "guid and delivery are of component uefi")
	case kindUEFI:
		fault(c.Model != "" || c.Device != "" || c.Serial != "" || c.Slot != 0 || c.AllowShared || c.Activate != "" && nvme.Activation(c.Activate) != nvme.ActivateBest,
			"model, device, serial, slot, activate and allow_shared are of component nvme")
		if c.GUID != "" {
			_, err := capsule.ParseGUID(c.GUID)
			fault(err != nil, "guid: %v", err)
		}
		if c.Version != "" {
			_, err := parseVersion(c.Version)
			fault(err != nil, "version: %v", err)
		}
	}
	return errors.Join(faults...)
}

// parseVersion reads a version of the ESRT, which is a number.
func parseVersion(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%.32q is no number of 32 bits, decimal or 0x…; how the vendor writes it as text is not known", s)
	}
	return uint32(n), nil
}

// modelMatches tells whether a drive's model is one of the pattern, in whatever
// case. A slash is a character like any other.
func (c component) modelMatches(model string) bool {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "/", "\x01")) }
	ok, err := path.Match(plain(c.Model), plain(model))
	return err == nil && ok
}
