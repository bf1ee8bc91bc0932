package restapi

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"ferric/api/ironic"
)

// EdgeConfig is about how requests reach the API. Sections and options are
// Ironic's but for those in [ferric_api].
type EdgeConfig struct {
	// ProxyHeaders believes a proxy in front what address clients called and
	// came from. Only for servers that nobody else can reach.
	ProxyHeaders bool `ini:"oslo_middleware.enable_proxy_headers_parsing"`
	// HealthCheck answers GET at HealthCheckPath, without credentials.
	HealthCheck     bool   `ini:"healthcheck.enabled"`
	HealthCheckPath string `ini:"healthcheck.path"`
	// HealthCheckFile is a file that makes the health check fail while it exists.
	HealthCheckFile string `ini:"healthcheck.disable_by_file_path"`
	// AllowedOrigins are the web sites whose scripts may call; * is all.
	AllowedOrigins []string `ini:"cors.allowed_origin"`
	// AllowCredentials lets them send cookies and the like.
	AllowCredentials bool `ini:"cors.allow_credentials"`
	// CORSMaxAge is for how long a browser remembers that they may, in seconds.
	CORSMaxAge int `ini:"cors.max_age"`
	// MaxBody is the size of bodies, in KiB.
	MaxBody int `ini:"api.max_json_body_size"`
	// MaxProvisionBody is that of requests for a provision state, which may have a config drive.
	MaxProvisionBody int `ini:"api.max_json_body_size_provision"`
	// MaxInspectionBody is that of what agents found out about their machine.
	MaxInspectionBody int `ini:"api.max_json_body_size_inspection"`
	// MaxDepth is how deep a body may nest.
	MaxDepth int `ini:"api.max_json_body_depth"`
	// AgentListen, as address:port, takes the agents' endpoints away from the
	// API's listener and serves them there.
	AgentListen string `ini:"ferric_api.agent_listen"`
	// TokenlessAgents serves ramdisks from before there were agent tokens, at the
	// paths that they call. Whoever can reach these can say to be the agent of a
	// node that waits for one: only for networks that nobody else is in.
	TokenlessAgents bool `ini:"ferric_api.tokenless_agents"`
	// FailedLookups is how many lookups that find no node an address may make a
	// second, for long; 0 is any number.
	FailedLookups int `ini:"ferric_api.failed_lookups"`
	// FailedLookupsBurst is how many it may make at once.
	FailedLookupsBurst int `ini:"ferric_api.failed_lookups_burst"`
}

func defaultEdge() EdgeConfig {
	return EdgeConfig{HealthCheckPath: "/healthcheck", AllowCredentials: true, CORSMaxAge: 3600, FailedLookups: 10, FailedLookupsBurst: 200,
		MaxBody: 1 << 10, MaxProvisionBody: 64 << 10, MaxInspectionBody: 16 << 10, MaxDepth: 25}
}

// check finds options that make no sense.
func (c EdgeConfig) check() error {
	if c.MaxBody <= 0 || c.MaxProvisionBody <= 0 || c.MaxInspectionBody <= 0 || c.MaxDepth <= 0 {
		return errors.New("the limits [api]max_json_body_* must be positive")
	}
	if c.FailedLookups > 0 && c.FailedLookupsBurst <= 0 {
		return errors.New("[ferric_api]failed_lookups_burst must be positive")
	}
	return nil
}

// healthCheck answers load balancers, whatever else the API is busy with.
func (s *Server) healthCheck(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if !s.cfg.Edge.HealthCheck || r.URL.Path != s.cfg.Edge.HealthCheckPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
			return next(c)
		}
		if file := s.cfg.Edge.HealthCheckFile; file != "" {
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				return c.String(http.StatusServiceUnavailable, "DISABLED BY FILE")
			}
		}
		return c.String(http.StatusOK, "OK")
	}
}

// corsHeaders are the request's headers that scripts may set, and those of the
// answer that they may read. Literal tables.
var (
	corsAllow = strings.Join([]string{"Content-Type", "Accept", "Authorization", "X-Auth-Token", "X-Service-Token", "X-Openstack-Request-Id",
		ironic.HeaderVersion, "OpenStack-API-Version", ironic.HeaderMinimumVersion, ironic.HeaderMaximumVersion}, ",")
	corsExpose = strings.Join([]string{ironic.HeaderVersion, ironic.HeaderMinimumVersion, ironic.HeaderMaximumVersion,
		ironic.HeaderRequestID, echo.HeaderLocation}, ",")
)

const corsMethods = "GET,HEAD,PUT,POST,DELETE,PATCH"

// cors lets scripts of other web sites call, if their origin is allowed.
func (s *Server) cors(next echo.HandlerFunc) echo.HandlerFunc {
	allowed := s.cfg.Edge.AllowedOrigins
	return func(c echo.Context) error {
		origin := c.Request().Header.Get(echo.HeaderOrigin)
		if len(allowed) == 0 || origin == "" {
			return next(c)
		}
		h := c.Response().Header()
		h.Add(echo.HeaderVary, echo.HeaderOrigin)
		preflight := c.Request().Method == http.MethodOptions && c.Request().Header.Get(echo.HeaderAccessControlRequestMethod) != ""
		if slices.Contains(allowed, origin) || slices.Contains(allowed, "*") {
			h.Set(echo.HeaderAccessControlAllowOrigin, origin)
			h.Set(echo.HeaderAccessControlExposeHeaders, corsExpose)
			// Everybody's scripts do not get the credentials that a browser keeps.
			if s.cfg.Edge.AllowCredentials && slices.Contains(allowed, origin) {
				h.Set(echo.HeaderAccessControlAllowCredentials, "true")
			}
			if preflight {
				h.Set(echo.HeaderAccessControlAllowMethods, corsMethods)
				h.Set(echo.HeaderAccessControlAllowHeaders, corsAllow)
				h.Set(echo.HeaderAccessControlMaxAge, strconv.Itoa(s.cfg.Edge.CORSMaxAge))
			}
		}
		if preflight {
			return c.NoContent(http.StatusOK)
		}
		return next(c)
	}
}

// linkBase is [api]public_endpoint, or how the client reached this server.
func (s *Server) linkBase(r *http.Request) string {
	if s.cfg.PublicEndpoint != "" {
		return trimSlash(s.cfg.PublicEndpoint)
	}
	scheme, host, prefix := "http", r.Host, ""
	if r.TLS != nil {
		scheme = "https"
	}
	if s.cfg.Edge.ProxyHeaders {
		if v := first(r.Header.Get("X-Forwarded-Proto")); v == "http" || v == "https" {
			scheme = v
		}
		if v := first(r.Header.Get("X-Forwarded-Host")); v != "" && !strings.ContainsAny(v, "/?#@ \"<>\\") {
			host = v
		}
		if v := first(r.Header.Get("X-Forwarded-Prefix")); strings.HasPrefix(v, "/") && !strings.ContainsAny(v, "?# \"<>\\") {
			prefix = trimSlash(v)
		}
	}
	return scheme + "://" + host + prefix
}

// first is the first of a header's comma list: what the proxy next to the client saw.
func first(list string) string {
	v, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(v)
}

// source is the network address that a request is counted under: for IPv6 the
// whole subnet, which is one owner's. Of X-Forwarded-For the last is what the
// proxy in front has seen; the others are anyone's to write.
func (s *Server) source(r *http.Request) netip.Prefix {
	text, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		text = r.RemoteAddr // "@" for a unix socket
	}
	if list := r.Header.Values("X-Forwarded-For"); s.cfg.Edge.ProxyHeaders && len(list) > 0 {
		hops := strings.Split(list[len(list)-1], ",")
		text = strings.TrimSpace(hops[len(hops)-1])
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// maxSources bounds the addresses that are remembered.
const maxSources = 4096

// guesses counts lookups that found nothing, by source. Each may have a burst
// of them, and then so many a second. Only they are counted, so that a rack of
// agents behind one address is not slowed down, while somebody who goes through
// all MAC addresses is.
type guesses struct {
	rate, burst float64

	mu      sync.Mutex
	sources map[netip.Prefix]bucket
}

// bucket holds how many guesses are left, at a time.
type bucket struct {
	left float64
	at   time.Time
}

func newGuesses(rate, burst int) *guesses {
	return &guesses{rate: float64(rate), burst: float64(burst), sources: map[netip.Prefix]bucket{}}
}

// left is what a bucket has been filled up to again.
func (g *guesses) left(source netip.Prefix, now time.Time) float64 {
	b, known := g.sources[source]
	if !known {
		return g.burst
	}
	return min(g.burst, b.left+now.Sub(b.at).Seconds()*g.rate)
}

// wait is how long the source has to wait until it may guess, 0 for not at all.
func (g *guesses) wait(source netip.Prefix, now time.Time) time.Duration {
	if g.rate == 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if left := g.left(source, now); left < 1 {
		return time.Duration((1 - left) / g.rate * float64(time.Second))
	}
	return 0
}

// wrong takes a guess from the source.
func (g *guesses) wrong(source netip.Prefix, now time.Time) {
	if g.rate == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.sources[source]; !known && len(g.sources) >= maxSources {
		for s := range g.sources {
			if g.left(s, now) >= g.burst {
				delete(g.sources, s)
			}
		}
		if len(g.sources) >= maxSources {
			source = netip.Prefix{} // strangers share one
		}
	}
	g.sources[source] = bucket{max(g.left(source, now)-1, 0), now}
}
