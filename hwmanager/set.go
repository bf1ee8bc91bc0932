package hwmanager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// ErrNotHandled is what a manager returns to say that a question is not for
// it; the next manager is asked (IncompatibleHardwareMethodError on the wire).
var ErrNotHandled = errors.New("not handled by this hardware manager")

// Set holds the managers that fit the machine, the best one first. Its methods
// may be called from any goroutine.
//
// A manager that is broken does not cost the machine: if it fails, panics or
// hangs while it is evaluated, initialised or asked for its steps, it is set
// aside with the reason and not asked anything any more; the others go on. One
// that is needed (Required) is an exception: its failure ends what was asked.
// In questions and steps an error, or a panic, is the answer.
type Set struct {
	log *logrus.Entry

	adding  sync.Mutex // one manager after the other
	mu      sync.RWMutex
	members []member          // the best one first; replaced, never changed
	aside   map[string]string // reasons by name
	missing map[string]error  // managers that are needed and not there, by name
}

// member is a manager with what it said of itself.
type member struct {
	Manager
	name, class, version string
	level                Support
	required             bool
}

// Limits of what a manager may take. One that still runs then is left alone, for
// nothing can end it; a good one ends with its context.
const (
	evaluateTime   = time.Minute
	initializeTime = 10 * time.Minute
	listTime       = 50 * time.Second // a conductor waits for 60 s
	collectTime    = 2 * time.Minute
)

// Load asks all managers how well they fit, drops those that do not, orders
// the others by level (equal levels stay in the order given) and initialises
// them in that order. Of two with one name the second is set aside. It fails with
// ipa.ManagerNotFound if none is left.
func Load(ctx context.Context, h *Host, managers []Manager) (*Set, error) {
	s := &Set{log: h.Log, aside: map[string]string{}, missing: map[string]error{}}
	if s.log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		s.log = logrus.NewEntry(silent)
	}
	names := map[string]bool{}
	for _, manager := range managers {
		m, err := introduce(manager)
		switch {
		case err == nil && names[m.name]:
			m.name, err = m.name+" (the second)", fmt.Errorf("there is a hardware manager named %s before it", m.name)
		case err == nil:
			names[m.name] = true
			m.level, err = s.evaluate(ctx, h, m)
		}
		if err != nil {
			if err := s.setAside(ctx, m, err); err != nil {
				return nil, err
			}
			continue
		}
		if m.level > None {
			s.members = insert(s.members, m)
		}
	}
	if len(s.members) == 0 {
		return nil, ipa.ManagerNotFound.New("none of %d hardware managers supports this machine%s", len(managers), s.asideText())
	}
	h.Set = s
	for _, m := range s.all() {
		if err := s.initialize(ctx, h, m); err != nil {
			if err := s.setAside(ctx, m, err); err != nil {
				return nil, err
			}
		}
	}
	if len(s.all()) == 0 {
		return nil, ipa.ManagerNotFound.New("no hardware manager is left%s", s.asideText())
	}
	return s, nil
}

// Add takes in a manager that came later, such as a plugin that the conductor
// named: it is evaluated, initialised and put at its place by level. The error
// says why it was set aside; that its name is taken leaves everything as it was.
// A manager that does not fit the machine is no error.
func (s *Set) Add(ctx context.Context, h *Host, manager Manager) error {
	return s.take(ctx, h, manager, false)
}

// Replace is Add for a manager that takes the place of the one with its name,
// if there is one: a plugin that is newer than the one in the ramdisk. That one
// stays if the new one fails or does not fit.
func (s *Set) Replace(ctx context.Context, h *Host, manager Manager) error {
	return s.take(ctx, h, manager, true)
}

func (s *Set) take(ctx context.Context, h *Host, manager Manager, replace bool) error {
	s.adding.Lock()
	defer s.adding.Unlock()
	m, err := introduce(manager)
	if err != nil {
		return errors.Join(err, s.setAside(ctx, m, err))
	}
	taken := slices.ContainsFunc(s.all(), func(other member) bool { return other.name == m.name })
	if taken && !replace {
		return fmt.Errorf("add hardware manager %s: there is one of this name", m.name)
	}
	if m.level, err = s.evaluate(ctx, h, m); err == nil && m.level > None {
		err = s.initialize(ctx, h, m)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil && taken:
		s.log.WithField("hardware_manager", m.name).WithError(err).Error("hardware manager is not replaced")
		return err
	case err != nil:
		s.Miss(m.name, err, m.required)
		return err
	case m.level <= None:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(s.members), func(other member) bool { return other.name == m.name })
	s.members = insert(others, m)
	delete(s.aside, m.name)
	delete(s.missing, m.name)
	return nil
}

// insert puts a manager behind those of its level. The slice is a new one.
func insert(members []member, m member) []member {
	at := slices.IndexFunc(members, func(other member) bool { return other.level < m.level })
	if at < 0 {
		at = len(members)
	}
	return slices.Insert(slices.Clip(slices.Clone(members)), at, m)
}

// Miss notes that a manager could not even be made, and why: it counts as set
// aside. If it is required, listing and running steps fails with the reason
// until a manager of that name is added.
func (s *Set) Miss(name string, reason error, required bool) {
	s.log.WithField("hardware_manager", name).WithError(reason).Error("hardware manager is set aside")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside[name] = oneLine(reason)
	if required {
		s.missing[name] = reason
	}
}

// SetAside tells which managers were set aside since the agent started, and
// why, for people. Its keys are names.
func (s *Set) SetAside() map[string]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.aside)
}

// Versions maps the names of the managers to their versions, as
// hardware_manager_version on the wire.
func (s *Set) Versions() map[string]string {
	members := s.all()
	versions := make(map[string]string, len(members))
	for _, m := range members {
		version := m.version
		if err := s.guard(m, "version", func() error { version = m.Version(); return nil }); err != nil {
			version = m.version
		}
		versions[m.name] = version
	}
	return versions
}

// all are the managers that are asked, the best one first.
func (s *Set) all() []member {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.members
}

// introduce asks a manager what it is. With an error the member has a name for
// people all the same.
func introduce(manager Manager) (member, error) {
	m := member{Manager: manager}
	err := recovered(func() error {
		m.name, m.class, m.version = manager.Name(), manager.ClassName(), manager.Version()
		required, ok := manager.(Requirer)
		m.required = ok && required.Required()
		return nil
	})
	if err == nil && m.name == "" {
		err = errors.New("it has no name")
	}
	if err == nil && m.class == "" {
		err = errors.New("it has no class name")
	}
	if m.name == "" {
		m.name = strings.TrimLeft(fmt.Sprintf("%T", manager), "*")
	}
	if err != nil {
		return m, fmt.Errorf("hardware manager %s: %w", m.name, err)
	}
	return m, nil
}

func (s *Set) evaluate(ctx context.Context, h *Host, m member) (Support, error) {
	level, err := within(ctx, s, m, "evaluate", evaluateTime, func(ctx context.Context) (Support, error) {
		return m.Evaluate(ctx, h)
	})
	if notHandled(err) {
		return None, nil
	}
	if err != nil {
		return None, fmt.Errorf("evaluate hardware manager %s: %w", m.name, err)
	}
	return level, nil
}

func (s *Set) initialize(ctx context.Context, h *Host, m member) error {
	able, ok := m.Manager.(Initializer)
	if !ok {
		return nil
	}
	_, err := within(ctx, s, m, "initialize", initializeTime, func(ctx context.Context) (any, error) {
		return nil, able.Initialize(ctx, h)
	})
	if err != nil && !notHandled(err) {
		return fmt.Errorf("initialize hardware manager %s: %w", m.name, err)
	}
	return nil
}

// setAside takes a manager out for reason. It returns reason if the manager is
// needed, and when nothing is wrong with it but that ctx has ended.
func (s *Set) setAside(ctx context.Context, m member, reason error) error {
	if m.required || ctx.Err() != nil {
		return reason
	}
	s.Miss(m.name, reason, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = slices.DeleteFunc(slices.Clone(s.members), func(other member) bool { return other.name == m.name })
	return nil
}

// asideText is for errors that have their cause in a manager that is not there.
func (s *Set) asideText() string {
	aside := s.SetAside()
	if len(aside) == 0 {
		return ""
	}
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(aside)) {
		reasons = append(reasons, fmt.Sprintf("%s (%s)", name, aside[name]))
	}
	return "; set aside: " + strings.Join(reasons, ", ")
}
