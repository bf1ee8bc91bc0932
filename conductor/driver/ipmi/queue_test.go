package ipmi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/google/go-cmp/cmp"
)

// recorder is a session that notes who sends which command when.
type recorder struct {
	node string
	log  *commandLog
}

type commandLog struct {
	mu       sync.Mutex
	began    time.Time
	commands []string
	inside   int
	answers  []byte // chassis status for each status command in turn; the last one stays
}

func (r recorder) command(ctx context.Context, cmd types.Command, _ []byte) ([]byte, error) {
	r.log.mu.Lock()
	r.log.inside++
	if r.log.inside > 1 {
		r.log.commands = append(r.log.commands, "OVERLAP")
	}
	r.log.commands = append(r.log.commands, fmt.Sprintf("%s %s %s", time.Since(r.log.began), r.node, cmd.Name))
	var status byte
	if cmd.ID == types.CommandGetChassisStatus.ID && len(r.log.answers) > 0 {
		status = r.log.answers[0]
		if len(r.log.answers) > 1 {
			r.log.answers = r.log.answers[1:]
		}
	}
	r.log.mu.Unlock()
	err := pause(ctx, time.Second) // the BMC is slow
	r.log.mu.Lock()
	r.log.inside--
	r.log.mu.Unlock()
	return []byte{status, 0, 0}, err
}

func (r recorder) close(context.Context) {}

func (b *BMCs) beginRecorded(t *testing.T, node, address string, log *commandLog) (context.Context, *operation, func()) {
	t.Helper()
	ctx, o, end, err := b.begin(t.Context(), Info{Address: address, Port: 623, Username: node}, node, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	o.login = func(context.Context) (session, error) { return recorder{node, log}, nil }
	return ctx, o, end
}

func TestQueueOfOneBMC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bmcs := newBMCs(t, func(c *Config) { c.MinCommandInterval = 5 * time.Second })
		log := &commandLog{began: time.Now()}
		var wg sync.WaitGroup
		for _, node := range []string{"first", "second", "third"} {
			ctx, o, end := bmcs.beginRecorded(t, node, "Bmc1", log)
			wg.Go(func() {
				defer end()
				if _, err := o.powerState(ctx); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // it has its place in the queue
		}
		ctx, o, end := bmcs.beginRecorded(t, "elsewhere", "bmc2", &commandLog{})
		if _, err := o.powerState(ctx); err != nil || time.Since(log.began) != time.Second {
			t.Errorf("another BMC: %v after %s; want no waiting", err, time.Since(log.began))
		}
		end()
		wg.Wait()
		want := []string{"0s first Get Chassis Status", "6s second Get Chassis Status", "12s third Get Chassis Status"}
		if diff := cmp.Diff(want, log.commands); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	})
}

func TestQueueWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bmcs := newBMCs(t, nil)
		_, holder, end := bmcs.beginRecorded(t, "holder", "bmc1", &commandLog{})
		defer end()
		if err := holder.bmc.queue.Acquire(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		defer holder.bmc.queue.Release(1)
		began := time.Now()
		_, err := bmcs.PowerState(t.Context(), holder.info)
		if !errors.Is(err, ErrBusy) {
			t.Errorf("%v; want ErrBusy", err)
		}
		if got, want := time.Since(began), bmcs.commandLimit(1); got != want {
			t.Errorf("waited %s; want %s", got, want)
		}
	})
}

// TestPollingGrows checks that the power state is asked for with growing pauses until it changes.
func TestPollingGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bmcs := newBMCs(t, nil)
		log := &commandLog{began: time.Now(), answers: []byte{0, 0, 0, 0, 0, 1}}
		ctx, o, end := bmcs.beginRecorded(t, "n", "bmc1", log)
		defer end()
		if err := o.change(ctx, powerOn, 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"0s n Get Chassis Status", "1s n Chassis Control", "2s n Get Chassis Status", "3.1s n Get Chassis Status",
			"4.25s n Get Chassis Status", "5.475s n Get Chassis Status", "6.8125s n Get Chassis Status",
		}
		if diff := cmp.Diff(want, log.commands); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	})
}
