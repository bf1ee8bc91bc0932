package generic

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images"
	"ferric/images/configdrive"
	"ferric/images/disk"
	"ferric/images/source"
)

// maxConfigDriveText is what a config drive in base64 may decode to, in bytes:
// a volume of the largest size, and what gzip adds to one that does not
// compress.
const maxConfigDriveText = configdrive.MaxSize + 1<<20

// WriteImage implements hwmanager.ImageWriter. The image that was written last
// is not written again as long as nobody has written to its disk.
func (m *Manager) WriteImage(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, info ipa.ImageInfo, configDrive string, node hwmanager.Node, progress func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	if configDrive == "" {
		configDrive = info.ConfigDrive
	}
	// A URL is shorter; what is behind it is bounded when it is fetched.
	if base64.StdEncoding.DecodedLen(len(configDrive)) > maxConfigDriveText {
		return nil, ipa.Deployment.New("configdrive has more than %d MiB", configdrive.MaxSize>>20)
	}
	target, err := mayWrite(h, device, node)
	if err != nil {
		return nil, err
	}
	if result := m.already(h, device, info, configDrive, node); result != nil {
		h.Log.WithField("image", info.ID).WithField("device", device.Name).Info("the image is on the disk already")
		return result, nil
	}
	req, err := imageRequest(h.Settings, info)
	if err != nil {
		return nil, wireError(err)
	}
	if err := m.releaseDisk(ctx, h, device, node); err != nil {
		return nil, err
	}
	if err := waitUnused(ctx, h, target); err != nil {
		return nil, err
	}
	report := func(p ipa.Progress) {
		p.Step = "write_image"
		progress(p)
	}
	var result *hwmanager.ImageResult
	if info.ImageType == ipa.PartitionImage {
		result, err = writePartitions(ctx, h, device, target, info, configDrive, node, req, report)
	} else {
		result, err = writeDisk(ctx, device, target, info, configDrive, req, report)
	}
	if err != nil {
		return nil, err
	}
	m.remember(h, device, info, configDrive, node, result)
	return result, nil
}

// waitUnused waits as long as something else has the disk open for itself
// ([disk_partitioner]check_device_interval and _max_retries).
func waitUnused(ctx context.Context, h *hwmanager.Host, target disk.Target) error {
	for try := 0; ; try++ {
		d, err := target.Open()
		if err == nil {
			return d.Close()
		}
		if !errors.Is(err, disk.ErrBusy) || try >= h.Settings.CheckDeviceMaxRetries {
			return ipa.ImageWrite.New("%v", err)
		}
		select {
		case <-time.After(h.Settings.CheckDeviceInterval):
		case <-ctx.Done():
			return ipa.ImageWrite.New("%v", err)
		}
	}
}

// writeDisk deploys a whole-disk image.
func writeDisk(ctx context.Context, device ipa.BlockDevice, target disk.Target, info ipa.ImageInfo, configDrive string, req images.Request, report func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	deployed, err := images.Deploy(ctx, target, req, configDrive, report)
	if err != nil {
		return nil, wireError(err)
	}
	return &hwmanager.ImageResult{
		Text:     fmt.Sprintf("image (%s) written to device %s root_uuid=%s", info.ID, device.Name, deployed.RootUUID),
		Device:   device.Name,
		RootUUID: deployed.RootUUID,
	}, nil
}

// mayWrite is the device as a target if an image may go to it, whoever chose
// it: it is not to be skipped, and what is on it may be erased.
func mayWrite(h *hwmanager.Host, device ipa.BlockDevice, node hwmanager.Node) (disk.Target, error) {
	kept, err := withoutSkipped(h, []ipa.BlockDevice{device}, node)
	if err != nil {
		return disk.Target{}, ipa.ImageWrite.New("%v", err)
	}
	if len(kept) == 0 {
		return disk.Target{}, ipa.ProtectedDevice.New("%s is one of the skip_block_devices of the node", device.Name)
	}
	if err := mayErase(h, device, protects(h.Settings, node)); err != nil {
		return disk.Target{}, err
	}
	return h.Fence(device)
}

// imageRequest adds the agent's configuration to what the conductor sent;
// credentials of the image win over configured ones.
func imageRequest(s hwmanager.Settings, info ipa.ImageInfo) (images.Request, error) {
	if info.ImageServerAuthStrategy == "" {
		info.ImageServerAuthStrategy = s.ImageServer.AuthStrategy
		info.ImageServerUser, info.ImageServerPassword = s.ImageServer.User, s.ImageServer.Password
	}
	client, err := s.HTTPClient()
	if err != nil {
		return images.Request{}, err
	}
	req, err := images.NewRequest(info, client)
	if err != nil {
		return images.Request{}, err
	}
	req.AllowMD5 = s.MD5Enabled
	req.RebuildConfigDrive = s.ConfigDriveRebuild
	req.TrustFormat = s.DisableDeepImageInspection
	req.Permitted = s.PermittedImageFormats
	req.MaxDuration = s.MaxDownload
	req.Retry = source.Retry{Retries: s.ConnectRetries, Interval: s.ConnectRetryInterval, Idle: s.ConnectTimeout}
	if s.ConnectRetries == 0 {
		req.Retry.Retries = -1 // zero would mean the default
	}
	return req, nil
}

// wireError is err as an error of the agent protocol.
func wireError(err error) error {
	var known *ipa.Error
	if errors.As(err, &known) {
		return err
	}
	kind := images.Kind(err)
	if kind == ipa.ImageChecksum {
		return kind.New("Image failed to verify against checksum. %v", err) // for who looks for that sentence (agent contract 1.4)
	}
	return kind.New("%v", err)
}
