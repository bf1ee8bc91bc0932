package images

import (
	"context"
	"errors"
	"fmt"

	"ferric/api/ipa"
)

// Write streams the image onto the disk at device and verifies it. It wipes
// what identified the disk's former content first, and again if it fails, so
// that nothing half-valid can boot. progress (may be nil) is called about once
// a second and once at the end.
func Write(ctx context.Context, device string, req Request, progress func(ipa.Progress)) (Result, error) {
	return Result{}, fmt.Errorf("write image to %s: %w", device, errors.ErrUnsupported)
}

// Deployment is a disk with its image, as far as the agent contract wants to
// know (section "prepare_image").
type Deployment struct {
	Result
	// RootUUID is the MBR disk signature, "0x%08x".
	RootUUID string
	// ConfigDrive is the partition that holds the config drive, "" if none.
	ConfigDrive string
}

// Deploy writes the image, moves the GPT's backup header to the end of the
// disk, checks that the partition table is readable, writes the config drive
// (inline base64(gzip(iso)) or URL; "" for none) and reads the MBR signature.
func Deploy(ctx context.Context, device string, req Request, configDrive string, progress func(ipa.Progress)) (Deployment, error) {
	return Deployment{}, fmt.Errorf("deploy image to %s: %w", device, errors.ErrUnsupported)
}
