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
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Config of the flows; the names are Ironic's, see docs/configuration.md.
type Config struct {
	AutomatedClean               bool          // [conductor] automated_clean
	MaxConcurrentDeploy          int           // [conductor] max_concurrent_deploy
	MaxConcurrentClean           int           // [conductor] max_concurrent_clean
	DeployCallbackTimeout        time.Duration // [conductor] deploy_callback_timeout, 0 is never
	CleanCallbackTimeout         time.Duration // [conductor] clean_callback_timeout
	AllowProvisioningMaintenance bool          // [conductor] allow_provisioning_in_maintenance
	PowerOffAfterDeployFailure   bool          // [deploy] power_off_after_deploy_failure
	EraseDevicesPriority         *int          // [deploy] erase_devices_priority, nil is the agent's
	EraseDevicesMetadataPriority *int          // [deploy] erase_devices_metadata_priority
	EraseDevicesIterations       int           // [deploy] shred_random_overwrite_iterations
	EraseDevicesZeroize          bool          // [deploy] shred_final_overwrite_with_zeros
	ContinueIfSecureEraseFailed  bool          // [deploy] continue_if_disk_secure_erase_fails
	DiskErasureConcurrency       int           // [deploy] disk_erasure_concurrency
	RequireTLS                   bool          // [agent] require_tls
	CommandTimeout               time.Duration // [agent] command_timeout
	AllowDeletingAvailableNodes  bool          // [conductor] allow_deleting_available_nodes
	ForcePowerStateDuringSync    bool          // [conductor] force_power_state_during_sync
	PowerStateSyncMaxRetries     int           // [conductor] power_state_sync_max_retries
	NodeView                     func(n *store.Node, unmaskConfigDrive bool) map[string]any
	PortView                     func(p *store.Port) map[string]any
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
}

// New makes the flows over their parts.
func New(cfg Config, s *store.Store, tasks *task.Manager, drivers driver.Resolver, log *logrus.Entry) *Flow {
	f := &Flow{cfg: cfg, store: s, tasks: tasks, drivers: drivers, log: log}
	tasks.Failed = f.workFailed
	return f
}

// ProvisionRequest is PUT states/provision after its syntax was checked.
type ProvisionRequest struct {
	Verb        provision.Verb
	ConfigDrive any    // nil, a string (URL or base64 of a gzipped image) or an object
	CleanSteps  []Step // target clean
	DeploySteps []Step // targets active and rebuild
}

// Step is a step that a user asks for.
type Step struct {
	Interface string         `json:"interface"`
	Step      string         `json:"step"`
	Args      map[string]any `json:"args,omitempty"`
	Priority  *int           `json:"priority,omitempty"`
}

// workFailed ends a piece of background work that returned an error: the
// node goes to the failed state of where it stands.
func (f *Flow) workFailed(ctx context.Context, t *task.Task, what string, err error) {
	f.fail(ctx, t, "Async execution of %s failed with error: %v", what, err)
}
