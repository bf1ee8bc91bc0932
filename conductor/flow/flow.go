// Package flow is what happens in each transient state: one file a verb. A
// request is validated and its first transition made durable while the client
// waits; the work goes on in a worker that keeps the node's lock, and from
// there by heartbeats and timers. Start reading at Provision (provision.go)
// and Heartbeat (heartbeat.go).
package flow

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/inspection"
	"ferric/conductor/inspection/rules"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Config of the flows. The tag names section and option of the INI file; all
// are Ironic's. Durations are seconds there.
type Config struct {
	// Host is the conductor's identity: the value of nodes.reservation.
	Host string `ini:"DEFAULT.host"`
	// AutomatedClean cleans a node before it becomes available, unless the node says otherwise.
	AutomatedClean bool `ini:"conductor.automated_clean"`
	// MaxConcurrentDeploy and MaxConcurrentClean bound the nodes that are deployed or cleaned at once.
	MaxConcurrentDeploy int `ini:"conductor.max_concurrent_deploy"`
	MaxConcurrentClean  int `ini:"conductor.max_concurrent_clean"`
	// DeployCallbackTimeout and CleanCallbackTimeout limit the wait for an agent; 0 is for ever.
	DeployCallbackTimeout time.Duration `ini:"conductor.deploy_callback_timeout"`
	CleanCallbackTimeout  time.Duration `ini:"conductor.clean_callback_timeout"`
	// InspectWaitTimeout, RescueCallbackTimeout and ServiceCallbackTimeout are the same for the other waits.
	InspectWaitTimeout     time.Duration `ini:"conductor.inspect_wait_timeout"`
	RescueCallbackTimeout  time.Duration `ini:"conductor.rescue_callback_timeout"`
	ServiceCallbackTimeout time.Duration `ini:"conductor.service_callback_timeout"`
	// RescuePasswordHash is how the password of a rescue is hashed: sha256 or sha512.
	RescuePasswordHash string `ini:"conductor.rescue_password_hash_algorithm"`
	// DisallowedDeploymentBootModes are boot modes that nothing is deployed in.
	DisallowedDeploymentBootModes []string `ini:"conductor.disallowed_deployment_boot_modes"`
	// AllowProvisioningMaintenance lets nodes in maintenance be provided.
	AllowProvisioningMaintenance bool `ini:"conductor.allow_provisioning_in_maintenance"`
	// AllowDeletingAvailableNodes lets available nodes be deleted.
	AllowDeletingAvailableNodes bool `ini:"conductor.allow_deleting_available_nodes"`
	// ForcePowerStateDuringSync pushes the recorded power state to hardware that differs.
	ForcePowerStateDuringSync bool `ini:"conductor.force_power_state_during_sync"`
	// PowerStateSyncMaxRetries failures in a row put a node into maintenance.
	PowerStateSyncMaxRetries int `ini:"conductor.power_state_sync_max_retries"`
	// SyncPowerStateWorkers bounds the BMCs that the power sync asks at the same
	// time (Ironic: 8). What it needs is the nodes a second times the seconds that
	// a BMC takes: the rest is for BMCs that do not answer.
	SyncPowerStateWorkers int `ini:"conductor.sync_power_state_workers"`
	// PowerOffAfterDeployFailure switches a machine off whose deployment failed.
	PowerOffAfterDeployFailure bool `ini:"deploy.power_off_after_deploy_failure"`
	// EraseDevicesPriority and EraseDevicesMetadataPriority override the agent's; 0 switches the step off.
	EraseDevicesPriority         *int `ini:"deploy.erase_devices_priority"`
	EraseDevicesMetadataPriority *int `ini:"deploy.erase_devices_metadata_priority"`
	// CleanStepPriorityOverride overrides that of any clean step, by "interface.step".
	CleanStepPriorityOverride map[string]string `ini:"conductor.clean_step_priority_override"`
	// DeleteConfigurationPriority and CreateConfigurationPriority override those of the RAID interface.
	DeleteConfigurationPriority *int `ini:"deploy.delete_configuration_priority"`
	CreateConfigurationPriority *int `ini:"deploy.create_configuration_priority"`
	// EraseDevicesIterations and EraseDevicesZeroize say how a disk is overwritten.
	EraseDevicesIterations int  `ini:"deploy.shred_random_overwrite_iterations"`
	EraseDevicesZeroize    bool `ini:"deploy.shred_final_overwrite_with_zeros"`
	// EnableATASecureErase and EnableNVMeSecureErase have disks erase themselves that can.
	EnableATASecureErase  bool `ini:"deploy.enable_ata_secure_erase"`
	EnableNVMeSecureErase bool `ini:"deploy.enable_nvme_secure_erase"`
	// EraseSkipReadOnly leaves disks alone that cannot be written to, where erasing would fail.
	EraseSkipReadOnly bool `ini:"deploy.erase_skip_read_only"`
	// ContinueIfSecureEraseFailed overwrites a disk whose secure erase failed.
	ContinueIfSecureEraseFailed bool `ini:"deploy.continue_if_disk_secure_erase_fails"`
	// DiskErasureConcurrency is how many disks are erased at once.
	DiskErasureConcurrency int `ini:"deploy.disk_erasure_concurrency"`
	// Agents is how agents are spoken to.
	Agents driver.Agents
	// RequireTLS refuses agents that serve plain HTTP.
	RequireTLS bool `ini:"agent.require_tls"`
	// RestrictLookup answers lookups only for nodes that expect an agent.
	RestrictLookup bool `ini:"api.restrict_lookup"`

	// AutoDiscovery enrols machines that send inspection data and that no node is
	// of, with the hardware type AutoDiscoveryDriver.
	AutoDiscovery       bool   `ini:"auto_discovery.enabled"`
	AutoDiscoveryDriver string `ini:"auto_discovery.driver"`
	// Inspection is what is done with the data of an inspection.
	Inspection inspection.Config
	// MaskSecrets hides passwords in inspection data from rules: "always",
	// "sensitive" from those that are not sensitive themselves, "never".
	MaskSecrets string `ini:"inspection_rules.mask_secrets"`

	// NodeView and PortView make what agents are shown.
	NodeView func(n *store.Node, unmaskConfigDrive bool) map[string]any `ini:"-"`
	PortView func(p *store.Port) map[string]any                         `ini:"-"`
	// Now is the clock of the host, which may be set at any time. nil is time.Now.
	Now func() time.Time `ini:"-"`
}

// DefaultConfig has Ironic's defaults.
func DefaultConfig() Config {
	return Config{
		AutomatedClean:               true,
		MaxConcurrentDeploy:          250,
		MaxConcurrentClean:           50,
		DeployCallbackTimeout:        30 * time.Minute,
		CleanCallbackTimeout:         30 * time.Minute,
		InspectWaitTimeout:           30 * time.Minute,
		RescueCallbackTimeout:        30 * time.Minute,
		ServiceCallbackTimeout:       30 * time.Minute,
		RescuePasswordHash:           "sha256",
		Inspection:                   inspection.DefaultConfig(),
		AllowProvisioningMaintenance: true,
		AllowDeletingAvailableNodes:  true,
		ForcePowerStateDuringSync:    true,
		PowerStateSyncMaxRetries:     3,
		SyncPowerStateWorkers:        128,
		PowerOffAfterDeployFailure:   true,
		EraseDevicesIterations:       1,
		EraseDevicesZeroize:          true,
		EnableATASecureErase:         true,
		EnableNVMeSecureErase:        true,
		DiskErasureConcurrency:       4,
		RequireTLS:                   true,
		Agents:                       driver.DefaultAgents(),
		RestrictLookup:               true,
		MaskSecrets:                  rules.MaskAlways,
	}
}

// Validate names an option whose value is none.
func (c Config) Validate() error {
	if _, err := hashPassword(c.RescuePasswordHash, ""); err != nil {
		return err
	}
	if c.AutoDiscovery && c.AutoDiscoveryDriver == "" {
		return errors.New("[auto_discovery]enabled needs [auto_discovery]driver, the hardware type of the machines that are discovered")
	}
	for id, text := range c.CleanStepPriorityOverride {
		if n, err := strconv.Atoi(text); err != nil || n < 0 {
			return fmt.Errorf("[conductor]clean_step_priority_override: the priority %q of %s is no whole number of at least 0", text, id)
		}
	}
	if c.SyncPowerStateWorkers < 1 {
		return fmt.Errorf("[conductor]sync_power_state_workers is %d, it must be positive", c.SyncPowerStateWorkers)
	}
	if err := c.Agents.Validate(); err != nil {
		return err
	}
	return c.Inspection.Validate()
}

// Errors that the API maps to a status of their own.
var (
	// ErrTooMany: a limit on concurrent deployments or cleanings is reached (503).
	ErrTooMany = errors.New("too many operations at once")
	// ErrInMaintenance: the verb is refused for a node in maintenance (400).
	ErrInMaintenance = errors.New("node is in maintenance")
	// ErrProtected: the node is protected from the verb (403).
	ErrProtected = errors.New("node is protected")
	// ErrConflict: the node's state forbids it now (409).
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the request cannot be done as asked (400).
	ErrInvalid = errors.New("invalid request")
	// ErrAgentToken: a lookup or heartbeat with a token that is not the node's (400).
	ErrAgentToken = errors.New("invalid agent token")
)

// invalid makes an ErrInvalid that shows the given text only.
func invalid(format string, args ...any) error {
	return &textError{ErrInvalid, fmt.Sprintf(format, args...)}
}

// conflict makes an ErrConflict that shows the given text only.
func conflict(format string, args ...any) error {
	return &textError{ErrConflict, fmt.Sprintf(format, args...)}
}

type textError struct {
	kind error
	text string
}

func (e *textError) Error() string { return e.text }
func (e *textError) Unwrap() error { return e.kind }

// Flow drives nodes. It is safe for concurrent use.
type Flow struct {
	cfg     Config
	store   *store.Store
	tasks   *task.Manager
	drivers driver.Resolver
	log     *logrus.Entry
	ages    *ages

	discovering sync.Mutex // so that a machine is enrolled once
}

// New makes the flows over their parts.
func New(cfg Config, s *store.Store, tasks *task.Manager, drivers driver.Resolver, log *logrus.Entry) *Flow {
	f := &Flow{cfg: cfg, store: s, tasks: tasks, drivers: drivers, log: log, ages: newAges(cfg.Now)}
	tasks.Failed = f.workFailed
	return f
}

// ProvisionRequest is PUT states/provision after its syntax was checked.
type ProvisionRequest struct {
	Verb         provision.Verb
	ConfigDrive  any    // nil, a string (URL or base64 of a gzipped image) or an object
	CleanSteps   []Step // target clean
	DeploySteps  []Step // targets active and rebuild
	ServiceSteps []Step // target service
	// DisableRamdisk keeps cleaning and service from booting the agent.
	DisableRamdisk bool
	RescuePassword string // target rescue
}

// Step is a step that a user asks for.
type Step struct {
	Interface string         `json:"interface"`
	Step      string         `json:"step"`
	Args      map[string]any `json:"args,omitempty"`
	Priority  *int           `json:"priority,omitempty"`
	// Order of a runbook's step; nil is the place in the list.
	Order *int `json:"order,omitempty"`
	// ExecuteOnChildNodes runs the step on the nodes whose parent this one is,
	// LimitChildNodeExecution only on those of them, by UUID.
	ExecuteOnChildNodes     bool     `json:"execute_on_child_nodes,omitempty"`
	LimitChildNodeExecution []string `json:"limit_child_node_execution,omitempty"`
}

// workFailed ends a piece of background work that returned an error: the
// node goes to the failed state of where it stands.
func (f *Flow) workFailed(ctx context.Context, t *task.Task, what string, err error) {
	f.fail(ctx, t, "Async execution of %s failed with error: %v", what, err)
}
