// Package command runs the commands of the agent protocol: it checks them in
// the order of the contract, runs one at a time, and keeps what became of them
// as long as the machine is not booted again.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// Executor runs commands. Use New.
type Executor struct {
	ctx   context.Context // the life of the agent, which no command outlives
	table Table
	opts  Options
	kept  history

	submit chan struct{} // the global command lock, a semaphore of one

	mu       sync.Mutex
	records  []*record
	progress *ipa.Progress
}

// record is one command that was started; done closes when it ended.
type record struct {
	result ipa.Result
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// Options of an executor.
type Options struct {
	// Dir is where commands are kept for a next life of the agent; it must not
	// outlive a boot. "" keeps nothing.
	Dir string
	// Ended is called after each async command, success or not.
	Ended func()
	Log   *logrus.Entry
}

// New makes an executor, which knows the commands that were kept. Commands run
// under ctx, whatever becomes of the request that started them.
func New(ctx context.Context, table Table, opts Options) *Executor {
	e := &Executor{ctx: ctx, table: table, opts: opts, kept: historyIn(opts.Dir), submit: make(chan struct{}, 1)}
	earlier, err := e.kept.load()
	if err != nil {
		opts.Log.WithError(err).Warn("earlier commands are lost")
	}
	over := make(chan struct{})
	close(over)
	for _, result := range earlier {
		e.records = append(e.records, &record{result: result, done: over})
	}
	return e
}

// keep is called with mu held, before a command runs and when it has ended.
func (e *Executor) keep() {
	if err := e.kept.store(e.results()); err != nil {
		e.opts.Log.WithError(err).Warn("commands are not kept: a restart of the agent forgets them")
	}
}

// Execute checks and runs a command. Errors mean that it was not recorded:
// they have kinds of package ipa. A failure of the command itself is a result.
// After, if not nil, is to be called when the answer has left.
func (e *Executor) Execute(ctx context.Context, req ipa.Request) (result ipa.Result, after func(), err error) {
	select {
	case e.submit <- struct{}{}:
		defer func() { <-e.submit }()
	case <-ctx.Done():
		return ipa.Result{}, nil, context.Cause(ctx)
	}

	_, name, err := split(req.Name)
	if err != nil {
		return ipa.Result{}, nil, err
	}
	if running, busy := e.Running(); busy {
		return ipa.Result{}, nil, ipa.AgentIsBusy.New("executing command %s", running.Name)
	}
	cmd, err := e.table.Find(req.Name)
	if err != nil {
		return ipa.Result{}, nil, err
	}
	if err := cmd.Check(req.Params); err != nil {
		return ipa.Result{}, nil, err
	}

	commandCtx, cancel := context.WithCancelCause(e.ctx)
	r := e.record(name, cancel)
	if cmd.Async {
		go e.runAsync(commandCtx, r, cmd, req.Params)
		return e.snapshot(r), nil, nil
	}
	defer cancel(nil)
	value, err := e.run(commandCtx, cmd, name, req.Params, func(ipa.Progress) {})
	e.finish(r, value, err, "")
	result = e.snapshot(r)
	if result.Status == ipa.StatusSucceeded {
		after = cmd.After
	}
	return result, after, nil
}

func (e *Executor) record(name string, cancel context.CancelCauseFunc) *record {
	r := &record{
		result: ipa.Result{ID: uuid.NewString(), Name: name, Status: ipa.StatusRunning},
		cancel: cancel,
		done:   make(chan struct{}),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.records = append(bounded(e.records), r)
	e.keep()
	return r
}

func (e *Executor) runAsync(ctx context.Context, r *record, cmd Command, params map[string]any) {
	defer r.cancel(nil)
	report := func(p ipa.Progress) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.progress = &p
	}
	value, err := e.run(ctx, cmd, r.result.Name, params, report)
	if err != nil && errors.Is(context.Cause(ctx), errCancelled) {
		err = fmt.Errorf("%w: %w", errCancelled, err)
	}
	e.finish(r, value, err, r.result.Name+": ")
	e.opts.Ended()
}

// errCancelled is why the context of a cancelled command ended.
var errCancelled = errors.New("cancelled by request")

// Cancel ends a running command that is abortable now: its context ends, and
// its result will be FAILED. Errors are of kind ipa.ObjectNotFound for an
// unknown id, else ErrNotCancellable.
func (e *Executor) Cancel(id string) (ipa.Result, error) {
	r := e.find(id)
	if r == nil {
		return ipa.Result{}, unknownID(id)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case r.result.Status != ipa.StatusRunning:
		return ipa.Result{}, fmt.Errorf("command %s (%s) is %s: %w", id, r.result.Name, r.result.Status, ErrNotCancellable)
	case e.progress == nil || !e.progress.Abortable:
		return ipa.Result{}, fmt.Errorf("command %s (%s) is not abortable: %w", id, r.result.Name, ErrNotCancellable)
	}
	r.cancel(errCancelled)
	return r.result, nil
}

// ErrNotCancellable refuses to cancel a command that has ended or that must
// not be interrupted.
var ErrNotCancellable = errors.New("the command cannot be cancelled")

func unknownID(id string) error {
	return ipa.ObjectNotFound.New("Command with id %s not found.", id)
}

// run calls the command with its parameters checked. A panic is an error; where
// it was is only for the log.
func (e *Executor) run(ctx context.Context, cmd Command, name string, params map[string]any, progress func(ipa.Progress)) (value any, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.opts.Log.WithField("command", name).Errorf("panic: %v\n%s", p, debug.Stack())
			err = fmt.Errorf("%s panicked: %v", name, p)
		}
	}()
	return cmd.Call(ctx, name, params, progress)
}

// finish puts the outcome of a command into its record. Prefix goes before a
// result that is a bare string.
func (e *Executor) finish(r *record, value any, err error, prefix string) {
	var encoded []byte
	if err == nil {
		if text, ok := value.(string); ok {
			value = map[string]string{"result": prefix + text}
		}
		if encoded, err = json.Marshal(value); err != nil {
			err = fmt.Errorf("the result does not encode as JSON: %w", err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.progress = nil
	switch {
	case err == nil:
		r.result.Status, r.result.Result = ipa.StatusSucceeded, encoded
	case ipa.VersionMismatch.Is(err) && prefix != "":
		r.result.Status, r.result.Error = ipa.StatusVersionMismatch, errorObject(err)
	default:
		r.result.Status, r.result.Error = ipa.StatusFailed, errorObject(err)
	}
	e.keep()
	close(r.done)
}

// errorObject is err as it stands on the wire. An error of a known kind keeps
// its type; what was wrapped around it becomes part of the details.
func errorObject(err error) *ipa.Error {
	var known *ipa.Error
	if !errors.As(err, &known) {
		known = ipa.CommandExecution.New("%v", err)
		err = known
	}
	object := *known
	if err != error(known) {
		object.Details = strings.Replace(err.Error(), known.Error(), known.Details, 1)
	}
	if len(object.Details) > maxDetails {
		object.Details = strings.ToValidUTF8(object.Details[:maxDetails], "") + " …"
	}
	return &object
}

// maxDetails bounds the text of an error in bytes.
const maxDetails = 16 << 10

func (e *Executor) snapshot(r *record) ipa.Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	return r.result
}

// List is all commands, oldest first.
func (e *Executor) List() []ipa.Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.results()
}

func (e *Executor) results() []ipa.Result {
	list := make([]ipa.Result, len(e.records))
	for i, r := range e.records {
		list[i] = r.result
	}
	return list
}

// Get is one command by its id, when wait is set once it ended. The error is
// of kind ipa.ObjectNotFound or that of ctx.
func (e *Executor) Get(ctx context.Context, id string, wait bool) (ipa.Result, error) {
	r := e.find(id)
	if r == nil {
		return ipa.Result{}, unknownID(id)
	}
	if wait {
		select {
		case <-r.done:
		case <-ctx.Done():
			return ipa.Result{}, context.Cause(ctx)
		}
	}
	return e.snapshot(r), nil
}

func (e *Executor) find(id string) *record {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.records {
		if r.result.ID == id {
			return r
		}
	}
	return nil
}

// Running is the command that is running; false if there is none.
func (e *Executor) Running() (ipa.Result, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.records) == 0 {
		return ipa.Result{}, false
	}
	last := e.records[len(e.records)-1].result
	return last, last.Status == ipa.StatusRunning
}

// Progress is the latest report of the running command; false if there is none.
func (e *Executor) Progress() (ipa.Progress, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.progress == nil {
		return ipa.Progress{}, false
	}
	return *e.progress, true
}
