package restapi

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unique"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"ferric/conductor/store"
)

const (
	// nodeCacheSize bounds the memory of rendered nodes, in bytes: some
	// thousand in full.
	nodeCacheSize = 32 << 20
	// nodeCacheItem is what an entry costs besides its text.
	nodeCacheItem = 200
	// nodeChunk is how many rows are in memory while a list is rendered.
	nodeChunk = 50
	// nodeRenderers is how many chunks of a list are rendered at a time: while
	// one waits for the database, another is made text.
	nodeRenderers = 2
)

// nodeCache keeps the nodes that were shown last as they were rendered. It
// cannot be wrong: an entry counts only for the revision of the node's row that
// it was made of, which the database is asked for at each request, and for a
// form, which holds all else that a view depends on.
type nodeCache struct {
	mu    sync.Mutex
	limit int
	size  int
	items map[nodeKey]*list.Element
	order list.List // of *renderedNode; the one that was shown last is in front
}

type nodeKey struct {
	id   int64
	form unique.Handle[string]
}

type renderedNode struct {
	key   nodeKey
	state int64 // of the row, see nodeForm
	text  []byte
}

func newNodeCache(limit int) *nodeCache {
	return &nodeCache{limit: limit, items: map[nodeKey]*list.Element{}}
}

// get finds the texts of nodes, nil where there is none.
func (c *nodeCache) get(form nodeForm, nodes []*store.Revision) [][]byte {
	texts := make([][]byte, len(nodes))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range nodes {
		e := c.items[nodeKey{n.ID, form.key}]
		if e == nil {
			continue
		}
		if r := e.Value.(*renderedNode); r.state == form.state(n.Revision, n.Stamps) {
			texts[i] = r.text
			c.order.MoveToFront(e)
		}
	}
	return texts
}

// put keeps the text of a node, instead of that of an earlier revision.
func (c *nodeCache) put(form nodeForm, n *store.Node, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := nodeKey{n.ID, form.key}
	if e := c.items[key]; e != nil {
		c.drop(e)
	}
	c.items[key] = c.order.PushFront(&renderedNode{key, form.state(n.Revision, n.Stamps), text})
	c.size += len(text) + nodeCacheItem
	for c.size > c.limit {
		c.drop(c.order.Back())
	}
}

func (c *nodeCache) drop(e *list.Element) {
	r := c.order.Remove(e).(*renderedNode)
	delete(c.items, r.key)
	c.size -= len(r.text) + nodeCacheItem
}

// nodeForm is what all nodes of an answer have in common.
type nodeForm struct {
	fields []string           // nil is all
	hosts  []*store.Conductor // that are alive
	only   string             // host whose nodes are shown, "" is all
	cached bool               // whether others get the same views
	key    unique.Handle[string]
}

// state is what the rows of a node have in common of which the form makes the
// same text: a revision, or one without the heartbeats that only leave their
// time, where that is not shown. It never comes again for anything else.
func (f nodeForm) state(revision, stamps int64) int64 {
	if f.fields == nil || slices.Contains(f.fields, "driver_internal_info") || slices.Contains(f.fields, "updated_at") {
		return revision
	}
	return revision - stamps
}

// rows reads what the views of nodes are made of. Fields have the names of
// their columns; the others are what the conductor is found by, and what may be
// shown is judged by.
func (f nodeForm) rows(ctx context.Context, s *store.Store, ids []int64) ([]*store.Node, error) {
	if f.fields == nil {
		return s.NodesByID(ctx, ids)
	}
	return s.NodeColumnsByID(ctx, ids, append([]string{"uuid", "driver", "conductor_group", "owner", "lessee"}, f.fields...))
}

func (s *Server) nodeForm(ctx context.Context, r *request, fields []string) (nodeForm, error) {
	hosts, err := s.aliveConductors(ctx)
	if err != nil {
		return nodeForm{}, err
	}
	f := nodeForm{fields: fields, hosts: hosts, cached: !s.redacts(r)}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %t %q", r.version, r.base, fields == nil, fields)
	for _, h := range hosts {
		fmt.Fprintf(&b, " %q %q %q", h.Hostname, h.ConductorGroup, h.DriversJSON)
	}
	f.key = unique.Make(b.String())
	return f, nil
}

// renderNodes makes the texts of nodes. Of those that have gone meanwhile, or
// that the form leaves out, there are none.
func (s *Server) renderNodes(ctx context.Context, r *request, f nodeForm, nodes []*store.Revision) ([][]byte, error) {
	useCache := f.cached && f.only == ""
	texts := make([][]byte, len(nodes))
	if useCache {
		texts = s.nodeTexts.get(f, nodes)
	}
	places := map[int64]int{} // of the nodes without a text
	var missing []int64       // in the order of the list: neighbours are in one place of the database
	for i, n := range nodes {
		if texts[i] == nil {
			places[n.ID] = i
			missing = append(missing, n.ID)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(nodeRenderers)
	for ids := range slices.Chunk(missing, nodeChunk) {
		group.Go(func() error {
			rows, err := f.rows(ctx, s.store, ids)
			if err != nil {
				return err
			}
			for _, n := range rows {
				text, err := s.renderNode(r, f, n)
				if err != nil {
					return err
				}
				if useCache {
					s.nodeTexts.put(f, n, text)
				}
				texts[places[n.ID]] = text // nobody else's
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(texts, func(text []byte) bool { return text == nil }), nil
}

// renderNode makes the text of a node, nil where the form leaves it out.
func (s *Server) renderNode(r *request, f nodeForm, n *store.Node) ([]byte, error) {
	host := conductorOf(n, f.hosts)
	if f.only != "" && (host == nil || *host != f.only) {
		return nil, nil
	}
	view := NodeView(n, r.version, ViewOptions{Base: r.base, Fields: f.fields, Conductor: host})
	s.redact(r, n, view)
	return encode(view)
}

// nodeRevision is node for who does not need the row.
func (s *Server) nodeRevision(ctx context.Context, r *request) (*store.Revision, error) {
	ident := r.params["node"]
	id, isUUID := parseUUID(ident)
	if !isUUID {
		n, err := s.node(ctx, r)
		if err != nil {
			return nil, err
		}
		return &store.Revision{ID: n.ID, Revision: n.Revision, Stamps: n.Stamps}, nil
	}
	rev, err := s.store.NodeRevision(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nodeNotFound(ident)
	}
	if err != nil {
		return nil, err
	}
	return rev, s.permitNode(r, &store.Node{Owner: rev.Owner, Lessee: rev.Lessee}, nodeNotFound(ident))
}

// rendered is a JSON text in pieces, as the body of a reply.
type rendered [][]byte

// renderedList is an object with a list and, unless it is "", a link to the next page.
func renderedList(name string, items [][]byte, next string) (rendered, error) {
	comma := []byte(",")
	out := make(rendered, 0, 2*len(items)+3)
	out = append(out, []byte(`{"`+name+`":[`))
	for i, item := range items {
		if i > 0 {
			out = append(out, comma)
		}
		out = append(out, item)
	}
	if next == "" {
		return append(out, []byte("]}")), nil
	}
	link, err := encode(next)
	return append(out, []byte(`],"next":`), link, []byte("}")), err
}

func (body rendered) write(c echo.Context, status int) error {
	size := 0
	for _, piece := range body {
		size += len(piece)
	}
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	w.Header().Set(echo.HeaderContentLength, strconv.Itoa(size))
	w.WriteHeader(status)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	b := bufio.NewWriterSize(w, min(size, 32<<10))
	for _, piece := range body {
		if _, err := b.Write(piece); err != nil {
			return err
		}
	}
	return b.Flush()
}

// encode makes JSON as the API has it.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode response: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
