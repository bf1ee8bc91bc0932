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
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// Table maps extensions to their commands by name.
type Table map[string]map[string]Command

// Command is one command of an extension.
type Command struct {
	// Async commands answer RUNNING at once; sync ones before the response.
	Async bool
	// Params lists the parameters, required ones marked with "!" at the end.
	Params []string
	// Extra allows parameters that are not listed (arguments of steps).
	Extra bool
	// Validate (optional) refuses a request before it is recorded.
	Validate func(params map[string]any) error
	// Run does the work. progress takes reports on what is in flight; as long
	// as the latest one says so (Abortable), the command can be cancelled,
	// which ends ctx.
	Run func(ctx context.Context, params map[string]any, progress func(ipa.Progress)) (any, error)
	// After (optional) runs once the answer to a successful sync command has left.
	After func()
}

// Find looks a command up by its name on the wire; the errors have kinds of
// package ipa.
func (t Table) Find(name string) (Command, error) {
	extension, short, err := split(name)
	if err != nil {
		return Command{}, err
	}
	commands, found := t[extension]
	if !found {
		return Command{}, ipa.ObjectNotFound.New("Extension with id %s not found.", extension)
	}
	cmd, found := commands[short]
	if !found {
		return Command{}, ipa.InvalidCommand.New("Unknown command: %s", short)
	}
	return cmd, nil
}

// split cuts a name at its first dot.
func split(name string) (extension, short string, err error) {
	extension, short, dotted := strings.Cut(name, ".")
	if !dotted {
		return "", "", ipa.InvalidCommand.New("Command name must be of the form <extension>.<name>")
	}
	return extension, short, nil
}

// Check applies the command's validator to the parameters of a request.
func (c Command) Check(params map[string]any) error {
	if c.Validate == nil {
		return nil
	}
	err := c.Validate(params)
	var known *ipa.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return ipa.InvalidCommandParams.New("%v", err)
}

// Call checks that all parameters are there, and no others, and runs the
// command; name is for errors.
func (c Command) Call(ctx context.Context, name string, params map[string]any, progress func(ipa.Progress)) (any, error) {
	if err := c.checkNames(name, params); err != nil {
		return nil, err
	}
	return c.Run(ctx, params, progress)
}

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

// checkNames reports parameters that are missing or unknown. The agent
// contract wants a failed result for these, not an HTTP error.
func (c Command) checkNames(name string, params map[string]any) error {
	var listed, missing []string
	for _, p := range c.Params {
		plain, required := strings.CutSuffix(p, "!")
		listed = append(listed, plain)
		if _, given := params[plain]; required && !given {
			missing = append(missing, plain)
		}
	}
	if len(missing) > 0 {
		return ipa.CommandExecution.New("%s lacks the required parameters: %s", name, strings.Join(missing, ", "))
	}
	if c.Extra {
		return nil
	}
	var unknown []string
	for p := range params {
		if !slices.Contains(listed, p) {
			unknown = append(unknown, p)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return ipa.CommandExecution.New("%s does not take the parameters: %s", name, strings.Join(unknown, ", "))
	}
	return nil
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
