package generic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images"
	"ferric/images/configdrive"
	"ferric/images/efi"
	"ferric/images/source"
)

// maxConfigDriveText is what a config drive in base64 may decode to, in bytes:
// a volume of the largest size, and what gzip adds to one that does not
// compress.
const maxConfigDriveText = configdrive.MaxSize + 1<<20

// WriteImage implements hwmanager.ImageWriter for whole-disk images.
func (m *Manager) WriteImage(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, info ipa.ImageInfo, configDrive string, node hwmanager.Node, progress func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	if info.ImageType == "partition" {
		return nil, ipa.InvalidImage.New("image %s is a partition image; only whole-disk images are supported", info.ID)
	}
	if configDrive == "" {
		configDrive = info.ConfigDrive
	}
	// A URL is shorter; what is behind it is bounded when it is fetched.
	if base64.StdEncoding.DecodedLen(len(configDrive)) > maxConfigDriveText {
		return nil, ipa.InvalidCommandParams.New("configdrive has more than %d MiB", configdrive.MaxSize>>20)
	}
	if err := mayWrite(h, device, node); err != nil {
		return nil, err
	}
	path := h.DevicePath(device.Name)
	req, err := imageRequest(h.Settings, info)
	if err != nil {
		return nil, wireError(ctx, err)
	}
	report := func(p ipa.Progress) {
		p.Step = "write_image"
		progress(p)
	}
	deployed, err := images.Deploy(ctx, path, req, configDrive, report)
	if err != nil {
		return nil, wireError(ctx, err)
	}
	return &hwmanager.ImageResult{
		Text:     fmt.Sprintf("image (%s) written to device %s root_uuid=%s", info.ID, device.Name, deployed.RootUUID),
		Device:   device.Name,
		RootUUID: deployed.RootUUID,
	}, nil
}

// mayWrite is nil if an image may go to the device, whoever chose it: it is
// not to be skipped, and what is on it may be erased.
func mayWrite(h *hwmanager.Host, device ipa.BlockDevice, node hwmanager.Node) error {
	kept, err := withoutSkipped([]ipa.BlockDevice{device}, node)
	if err != nil {
		return ipa.ImageWrite.New("%v", err)
	}
	if len(kept) == 0 {
		return ipa.ProtectedDevice.New("%s is one of the skip_block_devices of the node", device.Name)
	}
	protect, err := protects(h.Settings, node)
	if err != nil {
		return ipa.ImageWrite.New("%v", err)
	}
	return mayErase(h, device, protect)
}

// imageRequest adds the agent's configuration to what the conductor sent;
// credentials of the image win over configured ones.
func imageRequest(s hwmanager.Settings, info ipa.ImageInfo) (images.Request, error) {
	if info.ImageServerAuthStrategy == "" {
		info.ImageServerAuthStrategy = s.ImageServer.AuthStrategy
		info.ImageServerUser, info.ImageServerPassword = s.ImageServer.User, s.ImageServer.Password
	}
	client, err := imageClient(s)
	if err != nil {
		return images.Request{}, err
	}
	req, err := images.NewRequest(info, client)
	if err != nil {
		return images.Request{}, err
	}
	req.AllowMD5 = s.MD5Enabled
	req.Permitted = s.PermittedImageFormats
	req.MaxDuration = s.MaxDownload
	req.Retry = source.Retry{Retries: s.ConnectRetries, Interval: s.ConnectRetryInterval, Idle: s.ConnectTimeout}
	if s.ConnectRetries == 0 {
		req.Retry.Retries = -1 // zero would mean the default
	}
	return req, nil
}

func imageClient(s hwmanager.Settings) (*http.Client, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the default HTTP transport was replaced")
	}
	transport := base.Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: s.Insecure}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", s.CAFile)
		}
	}
	return &http.Client{Transport: transport}, nil
}

// wireError is err as an error of the agent protocol. A deadline that is not
// the caller's is image_download_max_duration.
func wireError(ctx context.Context, err error) error {
	var known *ipa.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return ipa.ImageDownloadTimeout.New("%v", err)
	}
	return images.Kind(err).New("%v", err)
}

// noSignature is the MBR signature of most GPT images.
const noSignature = "0x00000000"

// InstallBootloader implements hwmanager.BootloaderInstaller: boot entries on
// UEFI. A whole-disk image brings its own boot loader, BIOS needs nothing.
func (m *Manager) InstallBootloader(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, req hwmanager.BootloaderRequest) error {
	err := m.installBootloader(ctx, h, device, req)
	ignore := h.Settings.IgnoreBootloaderFailure
	if req.IgnoreFailure != nil {
		ignore = *req.IgnoreFailure
	}
	if err != nil && ignore {
		h.Log.WithError(err).Warn("boot loader not installed, ignored as configured")
		return nil
	}
	return err
}

func (m *Manager) installBootloader(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, req hwmanager.BootloaderRequest) error {
	path := h.DevicePath(device.Name)
	if err := h.Guard.Check(path); err != nil {
		return err
	}
	if bootedUEFI(h) {
		entries, err := efi.Install(ctx, filepath.Join(h.Sys, "firmware/efi/efivars"), path, req.ESPUUID)
		switch {
		case err == nil:
			h.Log.WithField("device", device.Name).WithField("entries", len(entries)).Info("boot entries written")
			return nil
		case errors.Is(err, efi.ErrNoESP):
			return ipa.DeviceNotFound.New("%v", err)
		case !errors.Is(err, efi.ErrNoLoader):
			return ipa.CommandExecution.New("boot entries for %s: %v", device.Name, err)
		}
	}
	if req.RootUUID == "" || req.RootUUID == noSignature {
		return nil // the image is trusted to boot by itself
	}
	return ipa.InvalidImage.New("%s holds no UEFI boot loader, and installing a BIOS boot loader is disabled because of CVE-2026-43003", device.Name)
}
