package generic

import (
	"encoding/json"
	"fmt"
	"strings"

	"ferric/hwmanager"
	"ferric/images/partition"
)

// Boot modes.
const (
	bootUEFI = "uefi"
	bootBIOS = "bios"
)

// nodeBootMode is the firmware that a partition image is to be booted by
// (agent contract, section "Partition images"): secure boot wants UEFI, then
// the instance decides, the node, the conductor, and last what this machine was
// booted by. What is neither of both modes is BIOS.
func nodeBootMode(h *hwmanager.Host, node hwmanager.Node) string {
	instance, properties := member(node, "instance_info"), member(node, "properties")
	ofInstance, ofNode := capabilities(instance), capabilities(properties)
	for _, c := range []map[string]string{ofInstance, ofNode} {
		if strings.EqualFold(c["secure_boot"], "true") {
			return bootUEFI
		}
	}
	current := bootBIOS
	if bootedUEFI(h) {
		current = bootUEFI
	}
	for _, mode := range []string{
		text(instance["deploy_boot_mode"]), ofNode["boot_mode"], text(member(node, "driver_internal_info")["deploy_boot_mode"]), current,
	} {
		if mode != "" && !strings.EqualFold(mode, bootUEFI) {
			return bootBIOS
		}
		if mode != "" {
			return bootUEFI
		}
	}
	return bootBIOS
}

// nodeDiskLabel is the kind of partition table for a partition image: GPT under
// UEFI, or else what the capability disk_label says, msdos by default.
func nodeDiskLabel(node hwmanager.Node, bootMode string) string {
	if bootMode == bootUEFI {
		return partition.GPT
	}
	label := capabilities(member(node, "instance_info"))["disk_label"]
	if label == "" {
		label = capabilities(member(node, "properties"))["disk_label"]
	}
	if strings.EqualFold(label, partition.GPT) {
		return partition.GPT
	}
	return partition.MBR
}

func member(object map[string]any, key string) map[string]any {
	value, _ := object[key].(map[string]any)
	return value
}

func text(value any) string {
	s, _ := value.(string)
	return strings.TrimSpace(s)
}

// capabilities are those of an instance or a node: an object, the same as JSON
// text, or "key:value,key:value". What cannot be read is left out.
func capabilities(of map[string]any) map[string]string {
	found := map[string]string{}
	object, _ := of["capabilities"].(map[string]any)
	if list := text(of["capabilities"]); list != "" {
		if json.Unmarshal([]byte(list), &object) != nil {
			object = nil
			for item := range strings.SplitSeq(list, ",") {
				if key, value, ok := strings.Cut(item, ":"); ok {
					found[strings.TrimSpace(key)] = strings.TrimSpace(value)
				}
			}
		}
	}
	for key, value := range object {
		if value != nil {
			found[key] = strings.TrimSpace(fmt.Sprint(value))
		}
	}
	return found
}
