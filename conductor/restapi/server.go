// Package restapi serves Ironic's REST API over the conductor: it decodes,
// checks what can be checked without the node's lock, calls, and maps the
// outcome. Which field, filter or verb appeared in which microversion stands in
// literal tables beside the handlers; start reading at routes (routes.go).
package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/explain"
	"ferric/conductor/flow"
	"ferric/conductor/inspection"
	"ferric/conductor/plugins"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

// Config of the API. The tag names section and option of the INI file; all are
// Ironic's. Durations are seconds there.
type Config struct {
	// PublicEndpoint is the base of all links; empty is how each client reached the API.
	PublicEndpoint string `ini:"api.public_endpoint"`
	// MaxLimit is the longest page of a list.
	MaxLimit int `ini:"api.max_limit"`
	// EnableRamdiskEndpoints serves lookup and heartbeat.
	EnableRamdiskEndpoints bool `ini:"api.enable_ramdisk_endpoints"`
	// HeartbeatTimeout is how often, at least, an agent is to heartbeat.
	HeartbeatTimeout time.Duration `ini:"api.ramdisk_heartbeat_timeout"`
	// DisallowCleanSteps, DisallowDeploySteps and DisallowServiceSteps, as
	// interface.step, cannot be asked for.
	DisallowCleanSteps   []string `ini:"api.disallow_clean_steps"`
	DisallowDeploySteps  []string `ini:"api.disallow_deploy_steps"`
	DisallowServiceSteps []string `ini:"api.disallow_service_steps"`
	// ConductorHeartbeatTimeout is when a silent conductor counts as dead.
	ConductorHeartbeatTimeout time.Duration `ini:"conductor.heartbeat_timeout"`
	// DefaultResourceClass is that of nodes created without one.
	DefaultResourceClass string `ini:"DEFAULT.default_resource_class"`
	// DefaultPortgroupMode is that of portgroups created without one.
	DefaultPortgroupMode string `ini:"DEFAULT.default_portgroup_mode"`
	// DefaultConductorGroup is that of nodes created without one.
	DefaultConductorGroup string `ini:"DEFAULT.default_conductor_group"`
	// DisallowedEnrollmentBootModes cannot be among the capabilities of a node.
	DisallowedEnrollmentBootModes []string `ini:"api.disallowed_enrollment_boot_modes"`

	// AgentMD5 lets agents accept MD5 as checksum of an image.
	AgentMD5 bool `ini:"agent.allow_md5_checksum"`
	// DisableDeepImageInspection switches off the agents' own check of images.
	DisableDeepImageInspection bool `ini:"conductor.disable_deep_image_inspection"`
	// PermittedImageFormats are the formats that agents write.
	PermittedImageFormats []string `ini:"conductor.permitted_image_formats"`
	// EnableBIOSBootloaderInstall lets agents install a boot loader on BIOS machines.
	EnableBIOSBootloaderInstall bool `ini:"agent.enable_bios_bootloader_install"`
	// SkipBMCDetect keeps agents from asking the BMC for its address.
	SkipBMCDetect bool `ini:"agent.skip_bmc_detect"`
	// TLSMinVersion is the lowest TLS version that agents serve.
	TLSMinVersion string `ini:"agent.tls_min_version"`

	// ProjectAdminsOwnNodes lets the administrators of a project create nodes
	// of the project, and delete them.
	ProjectAdminsOwnNodes bool `ini:"api.project_admin_can_manage_own_nodes"`
	Auth                  auth.Config
	Streams               StreamConfig

	// MetricsAccess says who may read /metrics: public, auth (who may see
	// conductors) or off.
	MetricsAccess string `ini:"ferric_api.metrics"`
	// Metrics answers at /metrics, and Observe is told of each request; took is 0
	// for a stream. Both may be nil.
	Metrics http.Handler                                               `ini:"-"`
	Observe func(method, route string, status int, took time.Duration) `ini:"-"`
	// Plugins are what agents are offered; nil is none.
	Plugins *plugins.Library `ini:"-"`
	// Explain is where the facts about a node come from, besides the database.
	Explain *explain.Sources `ini:"-"`
	Edge    EdgeConfig
}

// DefaultConfig is what an empty configuration file means.
func DefaultConfig() Config {
	return Config{
		MaxLimit:                  1000,
		DefaultPortgroupMode:      "active-backup",
		EnableRamdiskEndpoints:    true,
		HeartbeatTimeout:          300 * time.Second,
		DisallowCleanSteps:        []string{"vendor.send_raw"},
		DisallowDeploySteps:       []string{"vendor.send_raw"},
		DisallowServiceSteps:      []string{"vendor.send_raw"},
		ConductorHeartbeatTimeout: 60 * time.Second,
		PermittedImageFormats:     []string{"raw", "gpt", "qcow2", "iso"},
		TLSMinVersion:             "1.3",
		ProjectAdminsOwnNodes:     true,
		Auth:                      auth.DefaultConfig(),
		Streams:                   defaultStreams(),
		MetricsAccess:             "auth",
		Edge:                      defaultEdge(),
	}
}

// Conductor is what the API asks of the conductor. Each call that changes a
// node takes its lock; *task.LockedError is answered with 409.
type Conductor interface {
	// CreateNode checks the driver, fills the default interfaces and stores n.
	CreateNode(ctx context.Context, n *store.Node) error
	// UpdateNode calls change with the fresh row under the lock and stores
	// what it left; errors of change pass through unchanged.
	UpdateNode(ctx context.Context, id int64, change func(n *store.Node) error) (*store.Node, error)
	DeleteNode(ctx context.Context, id int64) error
	// Provision has made the first transition durable when it returns nil.
	Provision(ctx context.Context, id int64, req flow.ProvisionRequest) error
	// ContinueInspection takes over what an agent found; the work has begun when it returns.
	ContinueInspection(ctx context.Context, nodeUUID string, data *inspection.Data, wantToken bool) (*store.Node, string, error)
	// Inventory is what the latest inspection found.
	Inventory(ctx context.Context, id int64) (store.Inventory, error)
	SetPower(ctx context.Context, id int64, target string, timeout time.Duration) error
	// SetBootMode and SetSecureBoot are driver.ErrUnsupported for hardware that
	// cannot be told.
	SetBootMode(ctx context.Context, id int64, mode string) error
	SetSecureBoot(ctx context.Context, id int64, on bool) error
	SetMaintenance(ctx context.Context, id int64, on bool, reason *string) error
	Validate(ctx context.Context, id int64) (map[string]flow.ValidateResult, error)
	BootDevice(ctx context.Context, id int64) (device string, persistent *bool, err error)
	SetBootDevice(ctx context.Context, id int64, device string, persistent bool) error
	SupportedBootDevices(ctx context.Context, id int64) ([]string, error)
	// SetRAIDConfig is flow.ErrNoRAID for a node without an interface for it.
	SetRAIDConfig(ctx context.Context, id int64, config store.Object) error
	// WithNode calls fn, which only changes rows, with the fresh node while
	// nobody else changes it or what belongs to it.
	WithNode(ctx context.Context, id int64, purpose string, fn func(ctx context.Context, n *store.Node) error) error
	// Lookup finds the node of an agent, store.ErrNotFound for none or several.
	// The token is made when wanted, and masked when it was handed out before.
	Lookup(ctx context.Context, addresses []string, nodeUUID string, wantToken bool) (n *store.Node, token string, err error)
	Heartbeat(ctx context.Context, ident string, hb ipa.Heartbeat) error
	// Progress asks the node's agent, store.ErrNotFound when nothing is in flight.
	Progress(ctx context.Context, id int64) (*ipa.Progress, error)
	// EraseReports are those of the latest steps that erase, newest first.
	EraseReports(ctx context.Context, id int64) ([]ipa.EraseReport, error)
	// AgentNode finds the node of an agent that shows its token, else flow.ErrAgentToken.
	AgentNode(ctx context.Context, nodeUUID, token string) (*store.Node, error)
	// ReportPlugins keeps what an agent tells of its plugins.
	ReportPlugins(ctx context.Context, report ipa.PluginReport) error
	Drivers() []driver.Info
	Hardware
	Allocator
}

// Server answers the requests. It is safe for concurrent use.
type Server struct {
	cfg       Config
	store     *store.Store
	conductor Conductor
	auth      auth.Strategy
	policy    auth.Policy
	guesses   *guesses
	nodeTexts *nodeCache
	streams   streams
	refusals  *refusalLog
	log       *logrus.Entry
}

// New makes a server; lists are read from s, everything else is asked of c. It
// fails when the options of authentication make no sense.
func New(cfg Config, s *store.Store, c Conductor, log *logrus.Entry) (*Server, error) {
	if err := errors.Join(cfg.Edge.check(), cfg.Streams.check()); err != nil {
		return nil, err
	}
	if _, known := metricsPolicies[cfg.MetricsAccess]; !known {
		return nil, fmt.Errorf("[ferric_api]metrics is %q, it can be public, auth and off", cfg.MetricsAccess)
	}
	strategy, err := auth.New(cfg.Auth, log)
	if err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, store: s, conductor: c, auth: strategy, policy: auth.NewPolicy(),
		guesses: newGuesses(cfg.Edge.FailedLookups, cfg.Edge.FailedLookupsBurst), nodeTexts: newNodeCache(nodeCacheSize), streams: streams{ended: make(chan struct{})}, refusals: newRefusals(), log: log}, nil
}

// Handler is the API, to be served at the root of a listener. The endpoints of
// agents are not in it when they have a listener of their own.
func (s *Server) Handler() http.Handler {
	routes := s.routes()
	if s.cfg.Edge.AgentListen != "" {
		routes = slices.DeleteFunc(routes, forAgents)
	}
	return s.serve(routes)
}

// AgentHandler is what agents need of the API: their endpoints, and discovery.
func (s *Server) AgentHandler() http.Handler {
	return s.serve(slices.DeleteFunc(s.routes(), func(rt route) bool { return rt.policy != auth.Public || rt.path == metricsPath }))
}

// forAgents is true for what needs no credentials, except discovery.
func forAgents(rt route) bool {
	return rt.policy == auth.Public && rt.path != "/" && rt.path != "/v1" && rt.path != metricsPath
}

func (s *Server) serve(routes []route) http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.handleError
	e.Pre(s.observe, s.recoverPanic, s.healthCheck, s.cors, s.identify, normalisePath, s.legacyPaths, s.authenticate(routes), negotiate)
	e.Use(unrouted(routes))
	s.register(e, routes)
	return e
}
