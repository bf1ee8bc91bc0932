package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"ferric/api/ironic"
)

// read is a kind of request of clients that look.
type read struct {
	name string
	rate float64 // a second
	path func(f *fleet) string
}

// reads is the literal table of what is read and how often. The names are
// those of the results.
var reads = []read{
	{"node", 40, func(f *fleet) string { return "/v1/nodes/" + f.any().uuid }},
	{"node by name", 5, func(f *fleet) string { return "/v1/nodes/" + f.any().name }},
	{"states of a node", 5, func(f *fleet) string { return "/v1/nodes/" + f.any().uuid + "/states" }},
	{"ports of a node", 5, func(f *fleet) string { return "/v1/nodes/" + f.any().uuid + "/ports" }},
	{"port by address", 5, func(f *fleet) string { return "/v1/ports?address=" + f.any().mac() }},
	{"events of a node", 5, func(f *fleet) string { return "/ferric/v1/nodes/" + f.any().uuid + "/events" }},
	{"list, 1000", 1, func(f *fleet) string { return "/v1/nodes?limit=1000&marker=" + f.any().uuid }},
	{"list, 1000, 6 fields", 1, func(f *fleet) string {
		return "/v1/nodes?limit=1000&fields=uuid,name,instance_uuid,power_state,provision_state,maintenance&marker=" + f.any().uuid
	}},
	{"list by state, 6 fields", 1, func(f *fleet) string {
		return "/v1/nodes?fields=uuid,name,instance_uuid,power_state,provision_state,maintenance&provision_state=" + url.QueryEscape("wait call-back")
	}},
	{"detail, 100", 1, func(f *fleet) string { return "/v1/nodes/detail?limit=100&marker=" + f.any().uuid }},
	{"detail, 1000", 0.2, func(f *fleet) string { return "/v1/nodes/detail?limit=1000&marker=" + f.any().uuid }},
}

// any is a node of the fleet; of the first nine tenths, so that a page after it is full.
func (f *fleet) any() *node { return f.nodes[rand.IntN(len(f.nodes)*9/10+1)] }

// answer is when and how fast something was read.
type answer struct {
	at   time.Duration // since the load is held
	took time.Duration
}

// readers send each kind of read at its rate, however long the answers take.
type readers struct {
	f    *fleet
	http *http.Client

	mu      sync.Mutex
	began   time.Time
	answers [][]answer // by kind
	failed  int
	failure error // the first
}

func newReaders(f *fleet) *readers {
	return &readers{f: f, answers: make([][]answer, len(reads)),
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}}}
}

// run reads until ctx ends, and waits for the last answers.
func (r *readers) run(ctx context.Context, factor float64) {
	r.began = time.Now()
	var all sync.WaitGroup
	defer all.Wait()
	for kind, what := range reads {
		all.Go(func() {
			pause := time.Duration(float64(time.Second) / what.rate / factor)
			ticker := time.NewTicker(pause)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					all.Go(func() { r.read(kind, what.path(r.f)) })
				}
			}
		})
	}
}

func (r *readers) read(kind int, path string) {
	began := time.Now()
	err := r.get(path)
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed++
		if r.failure == nil {
			r.failure = err
		}
		return
	}
	r.answers[kind] = append(r.answers[kind], answer{began.Sub(r.began), took})
}

func (r *readers) get(path string) error {
	req, err := http.NewRequest(http.MethodGet, r.f.url+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set(ironic.HeaderVersion, "1.96")
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // the status says enough
		return fmt.Errorf("GET %s: %s: %s", path, resp.Status, text)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// quantile is the value that a share of the sorted times is not above.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// times are those of answers within a part of the time, sorted.
func times(kinds [][]answer, from, to time.Duration) []time.Duration {
	var all []time.Duration
	for _, answers := range kinds {
		for _, a := range answers {
			if a.at >= from && a.at < to {
				all = append(all, a.took)
			}
		}
	}
	slices.Sort(all)
	return all
}

// counter counts what happens, by the second.
type counter struct {
	mu    sync.Mutex
	times []time.Time
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = append(c.times, time.Now())
}

// between counts what happened from a time on until before another.
func (c *counter) between(from, to time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.times {
		if !t.Before(from) && t.Before(to) {
			n++
		}
	}
	return n
}
