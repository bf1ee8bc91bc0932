package generic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images"
	"ferric/images/disk"
	"ferric/images/partition"
)

// Sizes of partitions in MiB (agent contract, section "Partition images").
const (
	espSize      = 550
	biosBootSize = 1
	prepSize     = 8
)

// layoutOf is how a partition image is laid out for the node.
func layoutOf(h *hwmanager.Host, info ipa.ImageInfo, node hwmanager.Node) images.Layout {
	mode := nodeBootMode(h, node)
	l := images.Layout{
		Label: nodeDiskLabel(node, mode),
		Root:  int64(*info.RootMB), Swap: int64(*info.SwapMB), Ephemeral: int64(*info.EphemeralMB),
		PreserveEphemeral: *info.PreserveEphemeral,
	}
	power := strings.HasPrefix(runtime.GOARCH, "ppc64")
	switch {
	case mode == bootUEFI:
		l.ESP = orDefault(h.Settings.EFISystemPartitionSize, espSize)
	case power:
		l.PReP = prepSize
	case l.Label == partition.GPT:
		l.BIOSBoot = orDefault(h.Settings.BIOSBootPartitionSize, biosBootSize)
	}
	return l
}

// orDefault is the configured size, or the default of a host without
// configuration.
func orDefault(configured, otherwise int) int64 {
	if configured > 0 {
		return int64(configured)
	}
	return int64(otherwise)
}

// writePartitions deploys a partition image.
func writePartitions(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, target disk.Target, info ipa.ImageInfo, configDrive string, node hwmanager.Node, req images.Request, report func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	if err := noArray(h, device); err != nil {
		return nil, err
	}
	layout := layoutOf(h, info, node)
	mkfs := func(context.Context, disk.Target) error { return nil }
	if layout.Ephemeral > 0 && !layout.PreserveEphemeral {
		var err error
		if mkfs, err = formatter(ctx, h, info.EphemeralFormat); err != nil {
			return nil, err
		}
	}
	deployed, err := images.DeployPartitions(ctx, target, req, layout, configDrive, report)
	if err != nil {
		return nil, wireError(err)
	}
	if n := deployed.Partitions[images.PartEphemeral]; n > 0 {
		report(ipa.Progress{Phase: ipa.PhaseFileSystems, Done: deployed.Served, Total: deployed.Served, Written: deployed.Written, SecondsLeft: -1})
		if err := mkfs(ctx, target.Partition(n)); err != nil {
			err = fmt.Errorf("ephemeral partition of %s: %w", device.Name, err)
			return nil, ipa.ImageWrite.New("%v", errors.Join(err, target.Wipe(context.WithoutCancel(ctx))))
		}
		report(ipa.Progress{Phase: ipa.PhaseFileSystems, Done: deployed.Served, Total: deployed.Served, Written: deployed.Written, Finished: true})
	}
	result := &hwmanager.ImageResult{
		Text:     fmt.Sprintf("image (%s) written to device %s root_uuid=%s", info.ID, device.Name, deployed.RootUUID),
		Device:   device.Name,
		RootUUID: deployed.RootUUID, ESPUUID: deployed.ESPUUID, PRePUUID: deployed.PRePUUID,
		Partitions: map[string]string{},
	}
	for name, n := range deployed.Partitions {
		if name != images.PartBIOSBoot { // nobody mounts it
			result.Partitions[name] = disk.Node(device.Name, n)
		}
	}
	if info.DeployBootMode == bootUEFI && result.ESPUUID != "" {
		result.Text += " efi_system_partition_uuid=" + result.ESPUUID
	}
	return result, nil
}

var fileSystemName = regexp.MustCompile(`^[a-z][a-z0-9_]{1,15}$`)

// formatter makes file systems of the given kind with the label of ephemeral
// partitions. It fails if there is no program for that, before anything is
// written.
func formatter(ctx context.Context, h *hwmanager.Host, kind string) (func(ctx context.Context, target disk.Target) error, error) {
	if kind == "" {
		kind = "ext4"
	}
	if !fileSystemName.MatchString(kind) {
		return nil, ipa.InvalidCommandParams.New("ephemeral_format %.40q is not the name of a file system", kind)
	}
	program, args := "mkfs."+kind, []string{"-L", images.EphemeralLabel}
	switch kind {
	case "ext2", "ext3", "ext4":
		program, args = "mke2fs", append(args, "-q", "-F", "-t", kind)
	case "xfs", "btrfs":
		args = append(args, "-f")
	case "vfat", "msdos", "fat":
		args[0] = "-n"
	}
	if _, err := h.Run.Run(ctx, program, "-V"); hwmanager.NoProgram(err) {
		return nil, ipa.FileSystemUnsupported.New("file system %s for the ephemeral partition is not supported: there is no program %s", kind, program)
	}
	return func(ctx context.Context, target disk.Target) error {
		if err := errors.Join(waitForNode(ctx, target.Path()), target.Check()); err != nil {
			return err
		}
		_, err := h.Run.Run(ctx, program, append(args, target.Path())...)
		return err
	}, nil
}

// nodeWait is how long the node of a new partition may take to appear (agent
// contract: check_device_max_retries 20, check_device_interval 1 s).
const nodeWait = 20 * time.Second

func waitForNode(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, nodeWait)
	defer cancel()
	for {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("partition did not appear: %w", err)
		}
	}
}
