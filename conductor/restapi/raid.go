package restapi

import (
	"context"
	"math"
	"slices"

	"ferric/conductor/store"
)

// logicalDiskProperties are the members of a logical disk, with what they are
// for and the check of their values (REST contract, section 3.5). Literal table.
var logicalDiskProperties = map[string]struct {
	text  string
	valid func(value any) bool
}{
	"raid_level": {"RAID level for the logical disk. Valid values are 'JBOD', '0', '1', '2', '5', '6', '1+0', '5+0' and '6+0'. Required.",
		oneOf("JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0")},
	"size_gb": {"Size in GiB (Integer) for the logical disk. Use 'MAX' as size_gb if this logical disk is supposed to use the rest of the space available. Required.",
		func(v any) bool { return v == "MAX" || isCount(v, 0) }},
	"volume_name":              {"Name of the volume to be created. If this is not specified, it will be auto-generated. Optional.", isText},
	"is_root_volume":           {"Specifies whether this disk is a root volume. By default, this is False. Optional.", isBool},
	"share_physical_disks":     {"Specifies whether other logical disks can share physical disks with this logical disk. By default, this is False. Optional.", isBool},
	"disk_type":                {"The type of disk preferred. Valid values are 'hdd' and 'ssd'. If this is not specified, disk type will not be a selection criterion for choosing backing physical disks. Optional.", oneOf("hdd", "ssd")},
	"interface_type":           {"The interface type of disk. Valid values are 'sata', 'scsi' and 'sas'. If this is not specified, interface type will not be a selection criterion for choosing backing physical disks. Optional.", oneOf("sata", "scsi", "sas")},
	"number_of_physical_disks": {"Number of physical disks to use for this logical disk. By default, no restriction is imposed. Optional.", func(v any) bool { return isCount(v, 1) }},
	"controller":               {"Controller to use for this logical disk. If not specified, the driver will choose a suitable RAID controller on the bare metal node; 'software' is the operating system's. Optional.", isText},
	"physical_disks":           {"The physical disks to use for this logical disk. If not specified, the driver will choose suitable physical disks to use. A list of names, or of hints with the controller 'software'. Needs controller. Optional.", isDisks},
}

func oneOf(values ...string) func(any) bool {
	return func(v any) bool {
		text, ok := v.(string)
		return ok && slices.Contains(values, text)
	}
}

func isText(v any) bool {
	_, ok := v.(string)
	return ok
}

func isBool(v any) bool {
	_, ok := v.(bool)
	return ok
}

func isCount(v any, least float64) bool {
	n, ok := v.(float64)
	return ok && n == math.Trunc(n) && n >= least && n <= math.MaxInt32
}

func isDisks(v any) bool {
	list, ok := v.([]any)
	return ok && !slices.ContainsFunc(list, func(item any) bool {
		_, hints := item.(map[string]any)
		return !hints && !isText(item)
	})
}

func (s *Server) setRAIDConfig(ctx context.Context, r *request) (reply, error) {
	a := r.args
	if err := checkRAIDConfig(a.values); err != nil {
		return reply{}, err
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.SetRAIDConfig(ctx, n.ID, store.Object(a.values)); err != nil {
		return reply{}, err
	}
	return noContent()
}

// checkRAIDConfig checks a configuration as far as it holds for every controller;
// whether the machine can have it is found out when it is made.
func checkRAIDConfig(config map[string]any) error {
	if len(config) == 0 {
		return nil
	}
	list, ok := config["logical_disks"].([]any)
	if !ok || len(list) == 0 {
		return badRequest("RAID config validation error: logical_disks has to be a list of at least one object.")
	}
	roots := 0
	for i, item := range list {
		l, ok := item.(map[string]any)
		if !ok {
			return badRequest("RAID config validation error: logical_disks[%d] is not an object.", i)
		}
		for _, name := range []string{"raid_level", "size_gb"} {
			if l[name] == nil {
				return badRequest("RAID config validation error: logical_disks[%d] lacks %s.", i, name)
			}
		}
		for name, value := range l {
			property, known := logicalDiskProperties[name]
			if !known {
				return badRequest("RAID config validation error: logical_disks[%d] has the unknown member %q.", i, name)
			}
			if !property.valid(value) {
				return badRequest("RAID config validation error: logical_disks[%d] has the invalid %s %v. %s", i, name, value, property.text)
			}
		}
		if l["physical_disks"] != nil && l["controller"] == nil {
			return badRequest("RAID config validation error: logical_disks[%d] has physical_disks but no controller.", i)
		}
		if l["is_root_volume"] == true {
			roots++
		}
	}
	if roots > 1 {
		return badRequest("RAID config validation error: Raid config cannot have more than one root volume. %d root volumes were specified.", roots)
	}
	return nil
}

// showLogicalDiskProperties tells what a logical disk may have.
func (s *Server) showLogicalDiskProperties(ctx context.Context, r *request) (reply, error) {
	d, err := s.driver(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if !d.RAID {
		return reply{}, notFound("Driver %s does not support raid (disabled or not implemented).", d.Name)
	}
	texts := map[string]string{}
	for name, p := range logicalDiskProperties {
		texts[name] = p.text
	}
	return ok(texts)
}
