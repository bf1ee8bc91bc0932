package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Selector is the boot device that was chosen through the BMC.
type Selector string

const (
	SelectNone  Selector = "none" // firmware's own order: disks, then network
	SelectPXE   Selector = "pxe"  // network, then disks
	SelectDisk  Selector = "disk" // disks only
	SelectCDROM Selector = "cdrom"
	SelectSetup Selector = "bios"
)

// Event is something that happened to a machine's power.
type Event struct {
	Time time.Time
	What EventKind
}

// EventKind says what happened.
type EventKind string

const (
	PoweredOn  EventKind = "on"
	PoweredOff EventKind = "off"       // by the BMC
	GuestOff   EventKind = "guest off" // by the machine itself, or QEMU ended
	WasReset   EventKind = "reset"     // by the BMC
	GuestReset EventKind = "guest reset"
)

// settle is how long after a start or reset a further reset counts as part of the same boot: SeaBIOS answers every reset
// with another one of its own, after some milliseconds, and only then reads the boot order.
const settle = 3 * time.Second

// ErrOff reports an operation that needs a machine that is on.
var ErrOff = errors.New("the machine is off")

// Node is a machine of the rack. All methods may be called concurrently.
type Node struct {
	Config  NodeConfig // with all defaults filled in
	Console *Console
	BMC     *BMC

	machine machine

	mu       sync.Mutex // held while power changes
	running  *qemu      // nil while off
	selector Selector
	chosen   Selector    // the last one that was chosen, used up or not
	begun    time.Time   // start or reset that began the present boot
	using    *time.Timer // set while the present boot has yet to use the selector up
	events   []Event
	closed   bool
}

// Powered reports whether the machine's QEMU process is there.
func (n *Node) Powered() bool { return n.PID() != 0 }

// PID returns the process number of the machine's QEMU, 0 while it is off.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running == nil {
		return 0
	}
	return n.running.cmd.Process.Pid
}

// Selector returns the boot device chosen for the next boot.
func (n *Node) Selector() Selector {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.selector
}

// Chosen returns the boot device that was chosen last through the BMC, also after a boot has used it up; "" is none yet.
func (n *Node) Chosen() Selector {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.chosen
}

// Events returns what happened to the machine's power since the rack is up.
func (n *Node) Events() []Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Event(nil), n.events...)
}

func (n *Node) happened(what EventKind) {
	n.events = append(n.events, Event{Time: time.Now(), What: what})
}

// PowerOn starts the machine; it does nothing if it is on.
func (n *Node) PowerOn() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("start machine %s: the rack is being taken down", n.Config.Name)
	}
	if n.running != nil {
		return nil
	}
	n.happened(PoweredOn)
	q, err := n.machine.start(n.selector)
	if err != nil {
		n.events = n.events[:len(n.events)-1]
		return err
	}
	n.running = q
	go func() {
		n.Console.pump(q.serial) // to the end: the last words come after QEMU's death
		q.serial.Close()
	}()
	go n.follow(q)
	n.booting()
	return nil
}

// PowerOff cuts the power; it does nothing if the machine is off.
func (n *Node) PowerOff() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.off()
}

func (n *Node) off() {
	if n.running == nil {
		return
	}
	n.running.kill()
	n.running = nil
	n.keep()
	n.happened(PoweredOff)
}

// Reset resets a machine that is on, else it returns ErrOff.
func (n *Node) Reset(ctx context.Context) error { return n.tell(ctx, "system_reset") }

// Shutdown presses the ACPI power button of a machine that is on, else it returns ErrOff.
func (n *Node) Shutdown(ctx context.Context) error { return n.tell(ctx, "system_powerdown") }

func (n *Node) tell(ctx context.Context, command string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running == nil {
		return fmt.Errorf("machine %s: %w", n.Config.Name, ErrOff)
	}
	return n.running.monitor.command(ctx, command, nil)
}

// SetSelector chooses the boot device for the next start or reset.
func (n *Node) SetSelector(s Selector) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.selector, n.chosen = s, s
	n.keep()
	if n.running == nil {
		return nil
	}
	return n.arrange()
}

// booting notes that a boot begins, which uses a one-shot selector up: once it has settled, the selector is cleared and
// the next reset arranged accordingly.
func (n *Node) booting() {
	n.keep()
	n.begun = time.Now()
	if n.Config.Override == Persistent || n.selector == SelectNone {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(settle, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.using != timer {
			return
		}
		n.using = nil
		n.selector = SelectNone
		if err := n.arrange(); err != nil && n.running.alive() {
			n.happened(EventKind("boot order for the next reset not set: " + err.Error()))
		}
	})
	n.using = timer
}

// keep leaves the selector for the next boot.
func (n *Node) keep() {
	if n.using != nil {
		n.using.Stop()
		n.using = nil
	}
}

// arrange makes a running machine's next reset boot as selected: QEMU hands firmware the order anew at each reset.
func (n *Node) arrange() error {
	q := n.running
	set := func(id string, index int) error {
		return q.monitor.command(context.Background(), "qom-set",
			map[string]any{"path": "/machine/peripheral/" + id, "property": "bootindex", "value": index})
	}
	select {
	case <-q.monitor.ready:
	case <-q.done:
		return nil
	case <-time.After(qmpTimeout):
		return fmt.Errorf("machine %s: QEMU does not answer", n.Config.Name)
	}
	for _, id := range n.machine.devices() { // indexes must be unique at all times
		if err := set(id, -1); err != nil {
			return fmt.Errorf("machine %s: %w", n.Config.Name, err)
		}
	}
	for i, id := range n.machine.bootOrder(n.selector) {
		if err := set(id, i+1); err != nil {
			return fmt.Errorf("machine %s: %w", n.Config.Name, err)
		}
	}
	return nil
}

// follow watches one run of QEMU until it is over.
func (n *Node) follow(q *qemu) {
	for event := range q.monitor.events {
		if event.Name != "RESET" {
			continue
		}
		n.mu.Lock()
		if n.running == q {
			if again := event.Data.Guest && time.Since(n.begun) < settle; !again {
				n.happened(map[bool]EventKind{true: GuestReset, false: WasReset}[event.Data.Guest])
			}
			n.booting()
		}
		n.mu.Unlock()
	}
	<-q.done
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running == q {
		n.running = nil
		n.keep()
		n.happened(GuestOff)
	}
	q.monitor.conn.Close()
}

// close powers the machine off for good.
func (n *Node) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.off()
	n.Console.file.Close()
}
