package generic

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/efi"
)

// noSignature is the MBR signature of most GPT images.
const noSignature = "0x00000000"

// InstallBootloader implements hwmanager.BootloaderInstaller (agent contract,
// section "install_bootloader"): boot entries on UEFI, for the loaders on the
// EFI system partition or for those that the image has below /boot/efi, which no
// code of the image runs for. Only if that is allowed, its GRUB installs itself
// otherwise. A whole-disk image is trusted to boot under BIOS.
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
	target, err := h.Fence(device)
	if err != nil {
		return err
	}
	if err := target.Check(); err != nil { // or the firmware would boot another disk
		return ipa.CommandExecution.New("boot loader for %s: %v", device.Name, err)
	}
	if array, ok, err := runningArray(h, device); err != nil || ok {
		return m.bootArray(ctx, h, array, target, req, err)
	}
	trusted := req.RootUUID == "" || req.RootUUID == noSignature // to boot by itself
	if bootedUEFI(h) {
		err := bootEntries(ctx, h, device, req)
		if errors.Is(err, efi.ErrNoLoader) && !trusted {
			err = takeLoaders(ctx, h, target, req, err)
			if err == nil {
				err = bootEntries(ctx, h, device, req)
			}
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, efi.ErrNoESP):
			return ipa.DeviceNotFound.New("%v", err)
		case !errors.Is(err, efi.ErrNoLoader):
			return ipa.CommandExecution.New("boot entries for %s: %v", device.Name, err)
		}
	}
	if trusted {
		return nil
	}
	if !bootedUEFI(h) && req.ESPUUID != "" {
		// This firmware keeps no boot entries, but the one that will boot
		// the disk looks at the loaders' usual places.
		err := takeLoaders(ctx, h, target, req, efi.ErrNoLoader)
		if err == nil {
			h.Log.WithField("device", device.Name).Warn("no boot entries: the machine was not booted by UEFI")
			return nil
		}
		if !errors.Is(err, efi.ErrNoLoader) {
			return ipa.CommandExecution.New("boot loader for %s: %v", device.Name, err)
		}
	}
	if !h.Settings.EnableBIOSBootloaderInstall {
		return ipa.InvalidImage.New("%s holds no boot loader, and running the image's installer for one is disabled because of CVE-2026-43003 (enable_bios_bootloader_install)", device.Name)
	}
	if err := m.runGRUB(ctx, h, target, req); err != nil {
		return ipa.CommandExecution.New("boot loader for %s: %v", device.Name, err)
	}
	if !bootedUEFI(h) {
		return nil
	}
	if err := bootEntries(ctx, h, device, req); err != nil {
		return ipa.CommandExecution.New("boot entries for %s: %v", device.Name, err)
	}
	return nil
}

// bootEntries writes boot entries for what is on the EFI system partition.
func bootEntries(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, req hwmanager.BootloaderRequest) error {
	entries, err := efi.Install(ctx, filepath.Join(h.Sys, "firmware/efi/efivars"), h.DevicePath(device.Name), req.ESPUUID)
	if err != nil {
		return err
	}
	h.Log.WithField("device", device.Name).WithField("entries", len(entries)).Info("boot entries written")
	return nil
}

// takeLoaders fills the EFI system partition from the root file system that
// req names, and has the system mount it. none is the error for a disk that has
// nothing to take.
func takeLoaders(ctx context.Context, h *hwmanager.Host, target disk.Target, req hwmanager.BootloaderRequest, none error) error {
	on, err := findRoot(target, req)
	if err != nil {
		return fmt.Errorf("%w; %w", none, err)
	}
	if on.esp.Number == 0 {
		return fmt.Errorf("%w; the EFI system partition has no FAT file system", none)
	}
	files, err := on.readLoaders(ctx)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%w, and the root file system has none below /boot/efi/EFI", none)
	}
	if err := on.fillESP(files); err != nil {
		return err
	}
	h.Log.WithField("device", target.Path()).WithField("files", len(files)).Info("EFI system partition filled from the image")
	return on.mountESP(ctx)
}
