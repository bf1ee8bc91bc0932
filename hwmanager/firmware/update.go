package firmware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/erasure"
)

// Bounds of images: each, and all of a request, for they lie in memory together.
const (
	maxNVMe  = 256 << 20
	maxUEFI  = 512 << 20
	maxTotal = 1 << 30
)

// report is what became of one device, in Ironic's words for firmware components.
type report struct {
	Component string   `json:"component"`
	Name      string   `json:"name"` // nvme0, or the class in the ESRT
	Model     string   `json:"model,omitempty"`
	Serial    string   `json:"serial_number,omitempty"`
	Initial   string   `json:"initial_version"`
	Current   string   `json:"current_version"`
	Flashed   string   `json:"last_version_flashed,omitempty"`
	Slot      int      `json:"slot,omitempty"`
	Notes     []string `json:"notes,omitempty"`
}

func (r report) String() string {
	if r.Flashed == "" {
		return fmt.Sprintf("%s %s is at %s already", r.Component, r.Name, r.Current)
	}
	return fmt.Sprintf("%s %s from %s to %s", r.Component, r.Name, r.Initial, r.Current)
}

// pending is a device whose new firmware runs after a reboot, with what has to be
// known then.
type pending struct {
	Report report `json:"report"`
	Wanted string `json:"wanted"`
	// Of a capsule: what was said of the attempt before this one, the variables with
	// results that there were, and how it was delivered.
	LastVersion uint32   `json:"last_attempt_version,omitempty"`
	LastStatus  uint32   `json:"last_attempt_status,omitempty"`
	Results     []string `json:"results,omitempty"`
	Delivery    string   `json:"delivery,omitempty"`
}

// state is what the step leaves for its run after the reboot.
type state struct {
	Boot    string    `json:"boot_id"`
	Done    []report  `json:"done"`
	Pending []pending `json:"pending"`
	// Warm says that the reboot was to leave the power on, which not every drive is
	// content with.
	Warm bool `json:"warm,omitempty"`
}

// reboot asks for what the pending devices wait for. A capsule in memory goes
// first, for a power cycle loses it.
func (s state) reboot(h *hwmanager.Host) error {
	s.Boot = bootID(h)
	s.Warm = slices.ContainsFunc(s.Pending, func(w pending) bool { return w.Delivery == deliverMemory })
	return &hwmanager.Reboot{State: s, Warm: s.Warm}
}

// task is a device that is to get an image, all of it checked.
type task interface {
	String() string
	// run brings the image to the device. A pending other than nil waits for a reboot.
	run(ctx context.Context, h *hwmanager.Host, report func(fraction float64)) (report, *pending, error)
}

// update is the step.
func (m *Manager) update(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, args arguments) (any, error) {
	if call.Resume != nil {
		return m.resume(ctx, h, call.Resume)
	}
	p := planner{manager: m, host: h, call: call, files: map[string]*file{}}
	defer p.close()
	if err := p.plan(ctx, args.Components); err != nil {
		return nil, ipa.CommandExecution.New("update_firmware: nothing was changed: %v", err)
	}
	for _, r := range p.done {
		h.Log.Infof("firmware: %s", r)
	}
	return p.execute(ctx)
}

// planner makes tasks of a request. Nothing is changed before all of them are made.
type planner struct {
	manager *Manager
	host    *hwmanager.Host
	call    hwmanager.StepCall
	files   map[string]*file // by checksum
	total   int64
	tasks   []planned
	done    []report // devices that need nothing
	waiting []pending
}

// planned is a task, and how long is waited after it.
type planned struct {
	task
	wait time.Duration
}

// file is a downloaded image that is open.
type file struct {
	*os.File
	size       int64
	downloaded *hwmanager.Downloaded
}

// plan checks all components against the machine, fetches all images, and checks
// these. The error names every component with which something is wrong.
func (p *planner) plan(ctx context.Context, components []component) error {
	all, err := drives(p.host)
	if err != nil {
		return err
	}
	var faults []error
	targets := map[string]bool{}
	for i, c := range components {
		var tasks []task
		var err error
		switch c.Component {
		case kindNVMe:
			tasks, err = p.planDrives(ctx, c, all)
		case kindUEFI:
			tasks, err = p.planCapsule(ctx, c)
		}
		for at, t := range tasks {
			if name := t.String(); targets[name] {
				err = errors.Join(err, fmt.Errorf("%s is to get firmware twice", name))
			} else {
				targets[name] = true
			}
			wait := time.Duration(0)
			if at == len(tasks)-1 {
				wait = c.Wait
			}
			p.tasks = append(p.tasks, planned{t, wait})
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("components[%d] (%s): %w", i, c.Component, err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return errors.Join(faults...)
}

// fetch downloads and verifies an image, once however many components have it.
func (p *planner) fetch(ctx context.Context, c component, most int64) (*file, error) {
	if f := p.files[c.Checksum]; f != nil {
		return f, nil
	}
	d, err := p.host.Download(ctx, hwmanager.Source{URL: c.URL, Checksum: c.Checksum, MaxSize: min(most, maxTotal-p.total), Progress: p.call.Progress})
	if err != nil {
		return nil, err
	}
	opened, err := os.Open(d.Path)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	f := &file{File: opened, size: d.Size, downloaded: d}
	p.files[c.Checksum] = f
	p.total += d.Size
	return f, nil
}

func (p *planner) close() {
	for _, f := range p.files {
		f.Close()
		f.downloaded.Close()
	}
}

// execute runs the tasks, one after the other. The first that fails ends it; its
// error says what was done before, and what is left.
func (p *planner) execute(ctx context.Context) (any, error) {
	for i, t := range p.tasks {
		began := time.Now()
		told := time.Time{}
		r, wait, err := t.run(ctx, p.host, func(fraction float64) {
			if time.Since(told) < time.Second && fraction < 1 {
				return
			}
			told = time.Now()
			p.call.Progress(ipa.Progress{Phase: "firmware of " + t.String(), Done: int64(fraction * 100), Total: 100, SecondsLeft: -1})
		})
		if err != nil {
			return nil, p.failed(i, err)
		}
		switch {
		case wait != nil:
			wait.Report = r
			p.waiting = append(p.waiting, *wait)
			p.host.Log.Infof("firmware of %s: %s waits for a reboot", t, wait.Wanted)
		default:
			p.done = append(p.done, r)
			p.host.Log.WithField("took", time.Since(began).Round(time.Millisecond).String()).Infof("firmware: %s", r)
		}
		if err := erasure.Sleep(ctx, t.wait); err != nil {
			return nil, p.failed(i+1, err)
		}
	}
	if len(p.waiting) > 0 {
		return nil, state{Done: p.done, Pending: p.waiting}.reboot(p.host)
	}
	return hwmanager.NoReboot{Result: result(p.done)}, nil
}

// failed is the error of task number i.
func (p *planner) failed(i int, err error) error {
	var b strings.Builder
	if i < len(p.tasks) {
		fmt.Fprintf(&b, "update_firmware: %s: %v", p.tasks[i], err)
	} else {
		fmt.Fprintf(&b, "update_firmware: %v", err)
	}
	list := func(title string, texts []string) {
		if len(texts) > 0 {
			fmt.Fprintf(&b, "; %s: %s", title, strings.Join(texts, ", "))
		}
	}
	var done, waiting, left []string
	for _, r := range p.done {
		done = append(done, r.String())
	}
	for _, w := range p.waiting {
		waiting = append(waiting, fmt.Sprintf("%s to %s", w.Report.Name, w.Wanted))
	}
	for _, t := range p.tasks[min(i+1, len(p.tasks)):] {
		left = append(left, t.String())
	}
	list("done before", done)
	list("takes effect at the next reboot", waiting)
	list("not begun", left)
	return ipa.CommandExecution.New("%s", b.String())
}

// result is what the step ends with.
func result(done []report) map[string]any {
	texts := make([]string, len(done))
	for i, r := range done {
		texts[i] = r.String()
	}
	return map[string]any{"components": done, "message": "firmware: " + strings.Join(texts, "; ")}
}

// resume sees what the reboot has made of the devices that waited for it.
func (m *Manager) resume(ctx context.Context, h *hwmanager.Host, raw json.RawMessage) (any, error) {
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, ipa.InvalidCommandParams.New("update_firmware: what it left for after the reboot cannot be read: %v", err)
	}
	if now := bootID(h); now != "" && now == s.Boot {
		return nil, ipa.CommandExecution.New("update_firmware: the machine was not rebooted: %s", s.left())
	}
	p := planner{host: h, done: s.Done}
	var faults []error
	for _, w := range s.Pending {
		var r report
		var err error
		if w.Report.Component == kindNVMe {
			r, err = m.driveAfter(ctx, h, w)
			if s.Warm && errors.Is(err, errHolds) {
				p.waiting = append(p.waiting, w)
				continue
			}
		} else {
			r, err = capsuleAfter(h, w)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s %s: %w", w.Report.Component, w.Report.Name, err))
			continue
		}
		p.done = append(p.done, r)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, p.failed(0, err)
	}
	if len(p.waiting) > 0 {
		return nil, state{Done: p.done, Pending: p.waiting}.reboot(h)
	}
	return result(p.done), nil
}

// left names what waits for a reboot.
func (s state) left() string {
	var names []string
	for _, w := range s.Pending {
		names = append(names, fmt.Sprintf("%s waits for %s", w.Report.Name, w.Wanted))
	}
	return strings.Join(names, ", ")
}

// bootID tells one boot of the kernel from every other.
func bootID(h *hwmanager.Host) string { return text(h.Proc, "sys/kernel/random/boot_id") }
