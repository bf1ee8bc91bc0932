package ironic

// Node is a machine (REST contract, section 3.1).
type Node struct {
	UUID         string  `json:"uuid"`
	Name         *string `json:"name"`
	Description  *string `json:"description"`
	InstanceUUID *string `json:"instance_uuid"`
	InstanceName *string `json:"instance_name"`

	Driver             string         `json:"driver"`
	DriverInfo         map[string]any `json:"driver_info"`          // secrets are Masked
	DriverInternalInfo map[string]any `json:"driver_internal_info"` // secrets are Masked
	Properties         map[string]any `json:"properties"`
	InstanceInfo       map[string]any `json:"instance_info"` // configdrive and image_url are Masked
	Extra              map[string]any `json:"extra"`
	NetworkData        map[string]any `json:"network_data"`
	Traits             []string       `json:"traits"`

	ProvisionState       string  `json:"provision_state"`
	TargetProvisionState *string `json:"target_provision_state"`
	ProvisionUpdatedAt   *Time   `json:"provision_updated_at"`
	PowerState           *string `json:"power_state"`
	TargetPowerState     *string `json:"target_power_state"`
	LastError            *string `json:"last_error"`
	Reservation          *string `json:"reservation"` // host of the conductor that holds the lock
	Maintenance          bool    `json:"maintenance"`
	MaintenanceReason    *string `json:"maintenance_reason"`
	Fault                *string `json:"fault"`
	Health               *string `json:"health"`

	CleanStep      map[string]any `json:"clean_step"` // empty while idle
	DeployStep     map[string]any `json:"deploy_step"`
	ServiceStep    map[string]any `json:"service_step"`
	RAIDConfig     map[string]any `json:"raid_config"`
	TargetRAID     map[string]any `json:"target_raid_config"`
	BootMode       *string        `json:"boot_mode"` // "bios" or "uefi"
	SecureBoot     *bool          `json:"secure_boot"`
	ConsoleEnabled bool           `json:"console_enabled"`

	InspectionStartedAt  *Time `json:"inspection_started_at"`
	InspectionFinishedAt *Time `json:"inspection_finished_at"`

	AutomatedClean  *bool   `json:"automated_clean"` // null follows the configuration
	DisablePowerOff bool    `json:"disable_power_off"`
	Protected       bool    `json:"protected"`
	ProtectedReason *string `json:"protected_reason"`
	Retired         bool    `json:"retired"`
	RetiredReason   *string `json:"retired_reason"`

	ResourceClass  *string `json:"resource_class"`
	ConductorGroup string  `json:"conductor_group"`
	Conductor      *string `json:"conductor"` // null if none is online
	Owner          *string `json:"owner"`
	Lessee         *string `json:"lessee"`
	Shard          *string `json:"shard"`
	ParentNode     *string `json:"parent_node"`
	AllocationUUID *string `json:"allocation_uuid"`
	ChassisUUID    *string `json:"chassis_uuid"`

	BIOSInterface       *string `json:"bios_interface"`
	BootInterface       *string `json:"boot_interface"`
	ConsoleInterface    *string `json:"console_interface"`
	DeployInterface     *string `json:"deploy_interface"`
	FirmwareInterface   *string `json:"firmware_interface"`
	InspectInterface    *string `json:"inspect_interface"`
	ManagementInterface *string `json:"management_interface"`
	NetworkInterface    *string `json:"network_interface"`
	PowerInterface      *string `json:"power_interface"`
	RAIDInterface       *string `json:"raid_interface"`
	RescueInterface     *string `json:"rescue_interface"`
	StorageInterface    *string `json:"storage_interface"`
	VendorInterface     *string `json:"vendor_interface"`

	CreatedAt *Time  `json:"created_at"`
	UpdatedAt *Time  `json:"updated_at"`
	Links     []Link `json:"links"`

	// Links to the collections below the node, absent when fields were chosen.
	Ports      []Link `json:"ports,omitempty"`
	Portgroups []Link `json:"portgroups,omitempty"`
	States     []Link `json:"states,omitempty"`
	Volume     []Link `json:"volume,omitempty"`
}

// Nodes is a page of nodes; Next is the address of the page after it.
type Nodes struct {
	Nodes []Node `json:"nodes"`
	Next  string `json:"next,omitempty"`
}

// NodeStates is the answer of GET /v1/nodes/<node>/states.
type NodeStates struct {
	ProvisionState       string         `json:"provision_state"`
	TargetProvisionState *string        `json:"target_provision_state"`
	ProvisionUpdatedAt   *Time          `json:"provision_updated_at"`
	PowerState           *string        `json:"power_state"`
	TargetPowerState     *string        `json:"target_power_state"`
	LastError            *string        `json:"last_error"`
	ConsoleEnabled       bool           `json:"console_enabled"`
	RAIDConfig           map[string]any `json:"raid_config"`        // since 1.12
	TargetRAID           map[string]any `json:"target_raid_config"` // since 1.12
	BootMode             *string        `json:"boot_mode"`          // since 1.75
	SecureBoot           *bool          `json:"secure_boot"`        // since 1.75
}

// ProvisionRequest is the body of PUT /v1/nodes/<node>/states/provision
// (section 3.6). Which members go with which target is the server's to check.
type ProvisionRequest struct {
	Target         string `json:"target"`
	ConfigDrive    any    `json:"configdrive,omitempty"` // URL, base64(gzip(image)), or ConfigDrive
	CleanSteps     []Step `json:"clean_steps,omitempty"`
	DeploySteps    []Step `json:"deploy_steps,omitempty"`
	ServiceSteps   []Step `json:"service_steps,omitempty"`
	RescuePassword string `json:"rescue_password,omitempty"`
	DisableRamdisk *bool  `json:"disable_ramdisk,omitempty"`
	Runbook        string `json:"runbook,omitempty"`
}

// ConfigDrive is a config drive that the server builds (since 1.56).
type ConfigDrive struct {
	MetaData    any `json:"meta_data,omitempty"`
	NetworkData any `json:"network_data,omitempty"`
	UserData    any `json:"user_data,omitempty"`   // text, or an object that is written as JSON
	VendorData  any `json:"vendor_data,omitempty"` // since 1.59
}

// Step is a step that a request asks for. Priority belongs to deploy steps,
// Order to runbooks.
type Step struct {
	Interface string         `json:"interface"`
	Step      string         `json:"step"`
	Args      map[string]any `json:"args,omitempty"`
	Priority  *int           `json:"priority,omitempty"`
	Order     *int           `json:"order,omitempty"`
}

// ValidateResult is the answer of GET /v1/nodes/<node>/validate by interface.
type ValidateResult map[string]InterfaceResult

// InterfaceResult says whether one interface could do its work; a nil Result
// says that the driver has no such interface.
type InterfaceResult struct {
	Result *bool  `json:"result"`
	Reason string `json:"reason,omitempty"`
}

// BootDevice is what a machine boots from. In an answer nil is unknown.
type BootDevice struct {
	BootDevice *string `json:"boot_device"` // "pxe", "disk", …
	Persistent *bool   `json:"persistent"`
}
