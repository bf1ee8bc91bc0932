package direct

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// image makes the agent's image_info out of instance_info, or says what is
// missing or wrong there.
func (d *Deploy) image(n *store.Node) (*ipa.ImageInfo, error) {
	info := n.InstanceInfo
	source := info.String("image_source")
	if source == "" {
		return nil, driver.Missing("Cannot validate image information for node %s because one or more parameters are missing from its instance_info and insufficent information is present to boot from a remote volume. Missing are: ['image_source']", n.UUID)
	}
	u, err := url.Parse(source)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, driver.Invalid("image_source %q of node %s is not an http or https URL.", source, n.UUID)
	}
	image := &ipa.ImageInfo{
		ID: path.Base(u.Path), URLs: []string{source}, NodeUUID: n.UUID, ImageType: imageType(info),
		DiskFormat: info.String("image_disk_format"), ContainerFormat: info.String("image_container_format"),
		Checksum: info.String("image_checksum"), OSHashAlgo: info.String("image_os_hash_algo"), OSHashValue: info.String("image_os_hash_value"),
		ImageRequestAuthorization: info.String("image_request_authorization"),
		StreamRawImages:           d.cfg.StreamRawImages,
		DeployBootMode:            driver.BootMode(n),
	}
	if image.DiskFormat != "" && !slices.Contains(d.cfg.PermittedImageFormats, image.DiskFormat) {
		return nil, driver.Invalid("image_disk_format %q of node %s is not one of the permitted %v ([conductor]permitted_image_formats).", image.DiskFormat, n.UUID, d.cfg.PermittedImageFormats)
	}
	if (image.OSHashAlgo == "") != (image.OSHashValue == "") {
		return nil, driver.Invalid("instance_info of node %s has only one of image_os_hash_algo and image_os_hash_value.", n.UUID)
	}
	md5 := image.OSHashAlgo == "md5" || image.OSHashAlgo == "" && len(image.Checksum) == 32
	switch {
	case image.OSHashValue == "" && image.Checksum == "":
		return nil, driver.Missing("Node %s has no checksum of its image: image_os_hash_algo and image_os_hash_value, or image_checksum, must be set in its instance_info.", n.UUID)
	case md5 && !d.cfg.AllowMD5Checksum && !strings.Contains(image.Checksum, "://"):
		return nil, driver.Invalid("The image checksum of node %s is an md5, which [agent]allow_md5_checksum forbids.", n.UUID)
	}
	if image.ImageType == ipa.PartitionImage {
		return image, partitions(image, n)
	}
	return image, nil
}

// imageType is what the instance says, or a partition image if it comes with a
// kernel or ramdisk of its own (deploy flow, section 5.1).
func imageType(info store.Object) string {
	switch {
	case info.String("image_type") == ipa.PartitionImage:
		return ipa.PartitionImage
	case info.String("image_type") == "" && (info["kernel"] != nil || info["ramdisk"] != nil):
		return ipa.PartitionImage
	}
	return ipa.WholeDiskImage
}

// partitions adds what a partition image needs to know (deploy flow, section
// 5.2). It is booted from the disk, always.
func partitions(image *ipa.ImageInfo, n *store.Node) error {
	info := n.InstanceInfo
	var sizes [3]ipa.MiB
	for i, s := range []struct {
		key  string
		unit ipa.MiB // in MiB
	}{{"root_gb", 1024}, {"swap_mb", 1}, {"ephemeral_gb", 1024}} {
		if info[s.key] == nil {
			continue
		}
		text, err := json.Marshal(info[s.key])
		if err == nil {
			err = json.Unmarshal(text, &sizes[i])
		}
		if err != nil || sizes[i] < 0 || sizes[i] > 1<<30 {
			return driver.Invalid("%s %v of node %s is not a size.", s.key, info[s.key], n.UUID)
		}
		sizes[i] *= s.unit
	}
	if sizes[0] == 0 {
		return driver.Missing("Node %s has no root_gb in its instance_info, which a partition image needs.", n.UUID)
	}
	rootGB, preserve := int64(sizes[0]/1024), false
	if value := info["preserve_ephemeral"]; value != nil {
		var err error
		if preserve, err = strconv.ParseBool(strings.ToLower(fmt.Sprint(value))); err != nil {
			return driver.Invalid("preserve_ephemeral %v of node %s is not a boolean.", value, n.UUID)
		}
	}
	image.Kernel, image.Ramdisk = info.String("kernel"), info.String("ramdisk")
	image.RootGB, image.RootMB, image.SwapMB, image.EphemeralMB = rootGB, &sizes[0], &sizes[1], &sizes[2]
	image.PreserveEphemeral = &preserve
	image.BootOption = "local"
	if image.EphemeralFormat = info.String("ephemeral_format"); image.EphemeralFormat == "" {
		image.EphemeralFormat = "ext4"
	}
	image.DiskLabel = driver.Capabilities(info["capabilities"])["disk_label"]
	if image.DiskLabel == "" {
		image.DiskLabel = driver.Capabilities(n.Properties["capabilities"])["disk_label"]
	}
	return nil
}

// partitionUUIDs is the answer to get_partition_uuids.
type partitionUUIDs struct {
	Root *string `json:"root uuid"` // of a whole-disk image the MBR signature
	ESP  *string `json:"efi system partition uuid"`
	PReP *string `json:"PReP Boot partition uuid"`
}

// onSoftwareRAID reports whether the node is to have arrays of the operating system,
// or has them (by apply_configuration).
func onSoftwareRAID(n *store.Node) bool {
	wanted, _ := n.TargetRAIDConfig["logical_disks"].([]any)
	made, _ := n.RAIDConfig["logical_disks"].([]any)
	return slices.ContainsFunc(slices.Concat(wanted, made), func(item any) bool {
		disk, _ := item.(map[string]any)
		return disk["controller"] == "software"
	})
}

// rootUUID names the root file system to the boot loader, or else the disk: with
// software RAID a whole-disk image has to tell it (deploy flow, section 5). "" is
// not known.
func rootUUID(n *store.Node) string {
	if id := n.InstanceInfo.String("image_rootfs_uuid"); id != "" && onSoftwareRAID(n) {
		return id
	}
	return n.DriverInternalInfo.String("root_uuid_or_disk_id")
}

// installBootloader has the agent make the disk bootable and waits until it
// has.
func (d *Deploy) installBootloader(ctx context.Context, t *task.Task, uuids partitionUUIDs) error {
	agent, err := d.views.Agents.Of(t.Node)
	if err != nil {
		return err
	}
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	var root any // null for an image without an MBR signature
	if id := rootUUID(t.Node); id != "" {
		root = id
	}
	params := map[string]any{"root_uuid": root, "efi_system_part_uuid": uuids.ESP, "prep_boot_part_uuid": uuids.PReP, "target_boot_mode": driver.BootMode(t.Node)}
	result, err := agent.Execute(ctx, "image.install_bootloader", params, false)
	if err != nil {
		return fmt.Errorf("have the agent install the boot loader: %w", err)
	}
	id, budget := result.ID, time.Duration(d.cfg.CommandWaitAttempts)*d.cfg.CommandWaitInterval
	known, answered, lost := true, time.Now(), error(nil)
	err = poll(ctx, budget, 200*time.Millisecond, d.cfg.CommandWaitInterval, func() (bool, error) {
		commands, err := agent.Commands(ctx)
		if err != nil {
			if lost = d.lost(ctx, t.Node, ifs.Power, time.Since(answered), err); lost != nil {
				return true, nil
			}
			return false, err
		}
		answered = time.Now()
		i := slices.IndexFunc(commands, func(c ipa.Result) bool { return c.ID == id })
		if known = i >= 0; !known {
			return true, nil
		}
		*result = commands[i]
		return result.Status != ipa.StatusRunning, nil
	})
	if !known {
		lost = fmt.Errorf("%w: it restarted and no longer knows the command", driver.ErrAgentLost)
	}
	err = cmp.Or(lost, err)
	if err != nil {
		return fmt.Errorf("wait for the agent to install the boot loader: %w", err)
	}
	if result.Status != ipa.StatusSucceeded {
		return steps.Failure(result)
	}
	return nil
}

// lost is why an agent that gave no answer for a while, but err, is not waited
// for any more: its machine is off, or the while was long. Else nil.
func (d *Deploy) lost(ctx context.Context, n *store.Node, power driver.Power, silent time.Duration, err error) error {
	if state, unknown := power.PowerState(ctx, n); unknown == nil && state == driver.PowerOff {
		return fmt.Errorf("%w: its machine is off", driver.ErrAgentLost)
	}
	if limit := d.cfg.AgentSilenceTimeout; limit > 0 && silent > limit {
		return fmt.Errorf("%w: no answer for %v: %w", driver.ErrAgentLost, limit, err)
	}
	return nil
}
