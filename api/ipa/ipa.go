// Package ipa holds the wire types of the ironic-python-agent protocol: what a
// conductor sends to the agent in the ramdisk and what the agent answers.
//
// The names are those of the protocol. Objects that only travel through
// (nodes, ports, step arguments) stay maps, so that unknown members survive.
package ipa

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Statuses of a command result (agent protocol, section "Command result").
const (
	StatusRunning         = "RUNNING"
	StatusSucceeded       = "SUCCEEDED"
	StatusFailed          = "FAILED"
	StatusVersionMismatch = "CLEAN_VERSION_MISMATCH"
)

// MaskedToken is what a conductor shows in place of a token that it has
// already handed out.
const MaskedToken = "******"

// Request is the body of POST /v1/commands/.
type Request struct {
	Name   string         `json:"name"` // <extension>.<command>
	Params map[string]any `json:"params"`
}

// Result is what the agent knows of one command. Name has no extension prefix.
type Result struct {
	ID     string          `json:"id"`
	Name   string          `json:"command_name"`
	Status string          `json:"command_status"`
	Error  *Error          `json:"command_error"`
	Result json.RawMessage `json:"command_result"`
}

// Results is the body of GET /v1/commands/, oldest first.
type Results struct {
	Commands []Result `json:"commands"`
}

// Step is one unit of cleaning, deployment or service, as a hardware manager
// offers it and as a conductor sends it back to be executed.
type Step struct {
	Step            string         `json:"step"`
	Interface       string         `json:"interface"`
	Priority        int            `json:"priority"`
	RebootRequested bool           `json:"reboot_requested"`
	Abortable       bool           `json:"abortable"`
	ArgsInfo        map[string]Arg `json:"argsinfo,omitempty"`
	Args            map[string]any `json:"args,omitempty"`
	RequiresRamdisk *bool          `json:"requires_ramdisk,omitempty"`
	// Restartable says whether the step may be begun again after it was cut off
	// by a loss of power. It is ferric's own; nil leaves it to the conductor.
	Restartable *bool `json:"restartable,omitempty"`
}

// Arg describes one argument of a step.
type Arg struct {
	Description string `json:"description"`
	Required    bool   `json:"required"`
}

// CleanSteps is the result of clean.get_clean_steps; the deploy and service
// variants differ in the first key only. Keys are class names of managers.
type CleanSteps struct {
	CleanSteps             map[string][]Step `json:"clean_steps,omitempty"`
	DeploySteps            map[string][]Step `json:"deploy_steps,omitempty"`
	ServiceSteps           map[string][]Step `json:"service_steps,omitempty"`
	HardwareManagerVersion map[string]string `json:"hardware_manager_version"`
}

// ImageInfo is the image_info argument of prepare_image and of the write_image
// step. Sizes are MiB.
type ImageInfo struct {
	ID                        string            `json:"id"`
	URLs                      []string          `json:"urls"`
	Checksum                  string            `json:"checksum,omitempty"`
	OSHashAlgo                string            `json:"os_hash_algo,omitempty"`
	OSHashValue               string            `json:"os_hash_value,omitempty"`
	DiskFormat                string            `json:"disk_format,omitempty"`
	ContainerFormat           string            `json:"container_format,omitempty"`
	StreamRawImages           bool              `json:"stream_raw_images"`
	ImageType                 string            `json:"image_type,omitempty"` // "whole-disk" (default) or "partition"
	NodeUUID                  string            `json:"node_uuid,omitempty"`
	ImageRequestAuthorization string            `json:"image_request_authorization,omitempty"` // base64 of the whole Authorization header
	ImageServerAuthStrategy   string            `json:"image_server_auth_strategy,omitempty"`
	ImageServerUser           string            `json:"image_server_user,omitempty"`
	ImageServerPassword       string            `json:"image_server_password,omitempty"`
	Proxies                   map[string]string `json:"proxies,omitempty"`
	NoProxy                   string            `json:"no_proxy,omitempty"`
	ConfigDrive               string            `json:"configdrive,omitempty"` // legacy place; see prepare_image
	DeployBootMode            string            `json:"deploy_boot_mode,omitempty"`
	BootOption                string            `json:"boot_option,omitempty"`
	DiskLabel                 string            `json:"disk_label,omitempty"`

	// Of partition images only; those without a comment are required there.
	Kernel            string `json:"kernel,omitempty"`  // not used by the agent
	Ramdisk           string `json:"ramdisk,omitempty"` // not used by the agent
	RootGB            any    `json:"root_gb,omitempty"` // not used by the agent: root_mb counts
	RootMB            *MiB   `json:"root_mb,omitempty"`
	SwapMB            *MiB   `json:"swap_mb,omitempty"`
	EphemeralMB       *MiB   `json:"ephemeral_mb,omitempty"`
	EphemeralFormat   string `json:"ephemeral_format,omitempty"` // name of a mkfs; ext4 if absent
	PreserveEphemeral *bool  `json:"preserve_ephemeral,omitempty"`
}

// Image types.
const (
	WholeDiskImage = "whole-disk"
	PartitionImage = "partition"
)

// MiB is a size, which conductors send as a number or as its digits.
type MiB int64

// UnmarshalJSON implements json.Unmarshaler.
func (m *MiB) UnmarshalJSON(text []byte) error {
	digits := strings.TrimSpace(strings.Trim(string(text), `"`))
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		*m = MiB(n)
		return nil
	}
	// Go writes large float64 numbers with an exponent.
	if f, err := strconv.ParseFloat(digits, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		*m = MiB(f)
		return nil
	}
	return &json.UnmarshalTypeError{Value: fmt.Sprintf("value like %.40s", text), Type: reflect.TypeFor[MiB]()}
}
