package ipa

// LookupResponse is the answer to GET /v1/lookup.
type LookupResponse struct {
	Node   map[string]any `json:"node"`
	Config LookupConfig   `json:"config"`
}

// LookupConfig is what the conductor tells the agent. A pointer that is nil
// leaves the agent's own setting.
type LookupConfig struct {
	HeartbeatTimeout            float64        `json:"heartbeat_timeout"` // seconds
	AgentToken                  string         `json:"agent_token,omitempty"`
	AgentTokenRequired          bool           `json:"agent_token_required"`
	AgentMD5ChecksumEnable      *bool          `json:"agent_md5_checksum_enable"`
	DisableDeepImageInspection  *bool          `json:"disable_deep_image_inspection"`
	PermittedImageFormats       []string       `json:"permitted_image_formats"`
	AgentSkipBMCDetect          bool           `json:"agent_skip_bmc_detect"`
	EnableBIOSBootloaderInstall bool           `json:"enable_bios_bootloader_install"`
	TLSMinVersion               string         `json:"tls_min_version,omitempty"`
	TLSCipherSuites             *string        `json:"tls_cipher_suites"`
	Metrics                     map[string]any `json:"metrics,omitempty"`
	MetricsStatsd               map[string]any `json:"metrics_statsd,omitempty"`
	AgentContainers             map[string]any `json:"agent_containers,omitempty"`
	// Plugins are bundles that the agent is to fetch: ferric's own extension.
	Plugins []PluginOffer `json:"ferric_plugins,omitempty"`
}

// Heartbeat is the body of POST /v1/heartbeat/<uuid>. Members are sent only as
// far as the server's API version knows them.
type Heartbeat struct {
	CallbackURL        string `json:"callback_url"`
	AgentVersion       string `json:"agent_version,omitempty"`   // since 1.36
	AgentToken         string `json:"agent_token,omitempty"`     // since 1.62
	AgentVerifyCA      string `json:"agent_verify_ca,omitempty"` // since 1.68, PEM
	AgentStatus        string `json:"agent_status,omitempty"`    // since 1.72
	AgentStatusMessage string `json:"agent_status_message,omitempty"`
	// Tokenless is set by a conductor for agents from before there were tokens,
	// where they are let in.
	Tokenless bool `json:"-"`
}

// Progress is what an agent tells of a transfer in flight, an extension of
// ferric's outside the IPA protocol: GET /ferric/v1/progress on the agent,
// with the agent token, and relayed by the conductor at
// GET /ferric/v1/nodes/<uuid>/progress. Done and Total count bytes of the
// image as it is served; Written counts bytes that reached the disk.
type Progress struct {
	Step        string  `json:"step"`
	Phase       string  `json:"phase,omitempty"`      // one of the Phase constants
	Bottleneck  string  `json:"bottleneck,omitempty"` // while writing: one of the Bottleneck constants; "" if unknown
	Done        int64   `json:"done"`
	Total       int64   `json:"total"` // 0 if the server did not tell
	Written     int64   `json:"written"`
	BytesPerSec float64 `json:"bytes_per_second"`
	SecondsLeft float64 `json:"seconds_left"` // negative if unknown
	Finished    bool    `json:"finished"`
	Abortable   bool    `json:"abortable"` // DELETE /ferric/v1/commands/<id> ends the step
}

// Phases of the writing of an image, in their order.
const (
	PhaseWriting      = "downloading and writing"
	PhaseVerifying    = "verifying" // the digest, and bringing what is left to the disk
	PhasePartitioning = "partitioning"
	PhaseConfigDrive  = "config drive"
	PhaseFileSystems  = "file systems"
	PhaseBootLoader   = "boot loader"
)

// Phases of other steps.
const (
	PhaseErasing    = "erasing"
	PhasePulling    = "pulling"    // a container
	PhaseInstalling = "installing" // by code of the container
	PhaseBurnIn     = "burning in" // Done and Total are seconds where time is what ends the load
)

// Bottlenecks: what most of the last second was spent waiting for.
const (
	BottleneckSource = "source" // bytes from the image server
	BottleneckDecode = "decode" // digest, decompression and image format, on the CPU
	BottleneckDisk   = "disk"   // room to write
)
