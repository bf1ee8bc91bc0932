package ironicd

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"ferric/integration/lab"
)

// gate is where agents find the API: it passes on what they ask, and keeps it.
type gate struct {
	server *http.Server

	mu    sync.Mutex
	asked []string
}

// openGate opens the gate to the API at target.
func openGate(target string) (*gate, error) {
	api, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(lab.Address, strconv.Itoa(agentPort)))
	if err != nil {
		return nil, fmt.Errorf("listen for agents: %w", err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(api) }}
	g := &gate{}
	g.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.asked = append(g.asked, r.Method+" "+r.URL.Path)
		g.mu.Unlock()
		proxy.ServeHTTP(w, r)
	})}
	go func() { _ = g.server.Serve(listener) }() // returns when it is closed
	return g, nil
}

func (g *gate) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.asked)
}
