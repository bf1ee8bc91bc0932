package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
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
	if info.String("image_type") == "partition" || info["kernel"] != nil || info["ramdisk"] != nil {
		return nil, driver.Invalid("Node %s is given a partition image; its deploy interface writes whole-disk images only.", n.UUID)
	}
	image := &ipa.ImageInfo{
		ID: path.Base(u.Path), URLs: []string{source}, NodeUUID: n.UUID, ImageType: "whole-disk",
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
	return image, nil
}

// rootUUID reads the answer of get_partition_uuids.
func rootUUID(result json.RawMessage) string {
	var answer map[string]any
	if json.Unmarshal(result, &answer) != nil {
		return ""
	}
	s, _ := answer["root uuid"].(string)
	return s
}

// installBootloader has the agent write the UEFI boot entries and waits until
// it has.
func (d *Deploy) installBootloader(ctx context.Context, t *task.Task) error {
	agent, err := driver.Agent(t.Node)
	if err != nil {
		return err
	}
	var root any // null for an image without an MBR signature
	if id := t.Node.DriverInternalInfo.String("root_uuid_or_disk_id"); id != "" {
		root = id
	}
	params := map[string]any{"root_uuid": root, "efi_system_part_uuid": nil, "prep_boot_part_uuid": nil, "target_boot_mode": driver.BootMode(t.Node)}
	result, err := agent.Execute(ctx, "image.install_bootloader", params, false)
	if err != nil {
		return fmt.Errorf("have the agent install the boot loader: %w", err)
	}
	id, budget := result.ID, time.Duration(d.cfg.CommandWaitAttempts)*d.cfg.CommandWaitInterval
	known := true
	err = poll(ctx, budget, 200*time.Millisecond, d.cfg.CommandWaitInterval, func() (bool, error) {
		commands, err := agent.Commands(ctx)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(commands, func(c ipa.Result) bool { return c.ID == id })
		if known = i >= 0; !known {
			return true, nil
		}
		*result = commands[i]
		return result.Status != ipa.StatusRunning, nil
	})
	if !known {
		err = errors.New("the agent restarted and no longer knows the command")
	}
	if err != nil {
		return fmt.Errorf("wait for the agent to install the boot loader: %w", err)
	}
	if result.Status != ipa.StatusSucceeded {
		return steps.Failure(result)
	}
	return nil
}
