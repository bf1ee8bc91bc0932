package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
)

// waitFor waits for all nodes at once, 0 being for ever, and tells what happens
// to each.
func waitFor(ctx context.Context, api *client.Client, limit time.Duration, idents, ends []string, out io.Writer) error {
	limited := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	b := newBoard(out, idents)
	failures := make([]error, len(idents))
	var wg sync.WaitGroup
	for i, ident := range idents {
		wg.Go(func() {
			state, err := waitOne(limited, api, ident, ends, i, b)
			failures[i] = advise(ctx, limited, limit, ident, orUnknown(state), err)
		})
	}
	wg.Wait()
	return errors.Join(failures...)
}

// waitOne waits for a node, tells the board's line i what happens to it, and gives
// the state that it was in last.
func waitOne(ctx context.Context, api *client.Client, ident string, ends []string, i int, b *board) (state string, err error) {
	transfers, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); followTransfers(transfers, api, ident, i, b) }()
	_, err = api.WaitProvision(ctx, ident, ends, func(n *ironic.Node) {
		state = n.ProvisionState
		b.state(i, describe(n))
	})
	stop()
	<-done
	return state, err
}

func orUnknown(state string) string { return first(state, "in a state that could not be asked") }

// advise adds to a failed wait what can be done.
func advise(ctx, limited context.Context, limit time.Duration, ident, state string, err error) error {
	var stopped *client.StateError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted, but the conductor goes on: node %s is %s; see it by: ferric node show %s", ident, state, ident)
	case limited.Err() != nil:
		return fmt.Errorf("node %s is still %s after %s, and the conductor goes on; see it by: ferric node show %s", ident, state, limit, ident)
	case errors.As(err, &stopped) && nextSteps[stopped.State] != "":
		return fmt.Errorf("%w\n  %s", err, strings.ReplaceAll(nextSteps[stopped.State], "NODE", ident))
	}
	return err
}

// nextSteps are what an operator can do about a node in a state that it does
// not leave by itself. Literal table.
var nextSteps = map[string]string{
	ironic.StateEnroll:         "What is missing says: ferric node validate NODE. Mend it by: ferric node set NODE, then: ferric node manage NODE",
	ironic.StateInspectFailed:  "Try again: ferric node inspect NODE, or leave it: ferric node manage NODE",
	ironic.StateCleanFailed:    "What happened says: ferric node history list NODE. Then: ferric node maintenance unset NODE, ferric node manage NODE and ferric node provide NODE",
	ironic.StateCleanHold:      "A step holds the node. Go on: ferric node unhold NODE, or give up: ferric node abort NODE",
	ironic.StateDeployFailed:   "What happened says: ferric node history list NODE. Try again: ferric node deploy NODE, or give up: ferric node undeploy NODE",
	ironic.StateDeployHold:     "A step holds the node. Go on: ferric node unhold NODE, or give up: ferric node undeploy NODE",
	ironic.StateError:          "Try again: ferric node undeploy NODE, or: ferric node rebuild NODE",
	ironic.StateAdoptFailed:    "Try again: ferric node adopt NODE, or leave it: ferric node manage NODE",
	ironic.StateRescueFailed:   "Try again: ferric node rescue NODE, or go back: ferric node unrescue NODE",
	ironic.StateUnrescueFailed: "Try again: ferric node unrescue NODE, or: ferric node rescue NODE",
	ironic.StateServiceFailed:  "What happened says: ferric node history list NODE. Try again: ferric node service NODE, or go back: ferric node abort NODE",
	ironic.StateServiceHold:    "A step holds the node. Go on: ferric node unhold NODE, or give up: ferric node abort NODE",
}

// describe is a node's state, power and step in a few words.
func describe(n *ironic.Node) string {
	text := n.ProvisionState
	if n.PowerState != nil {
		text += ", " + *n.PowerState
	}
	for _, step := range []map[string]any{n.CleanStep, n.DeployStep, n.ServiceStep} {
		if step["step"] != nil {
			text += fmt.Sprintf(", step %v.%v", step["interface"], step["step"])
		}
	}
	return text
}

// transferInterval is the pause between two looks at a transfer.
const transferInterval = 2 * time.Second

// followTransfers tells how far the transfer in flight is. A conductor without
// anything to tell refuses; there may be something later.
func followTransfers(ctx context.Context, api *client.Client, ident string, i int, b *board) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(transferInterval):
		}
		t, err := api.Progress(ctx, ident)
		if err != nil || t.Finished || t.Done == 0 {
			b.transfer(i, "")
			continue
		}
		text := fmt.Sprintf("%s %s: %s", t.Step, t.Phase, size(t.Done))
		if t.Total > 0 {
			text += fmt.Sprintf(" of %s (%d %%)", size(t.Total), 100*t.Done/t.Total)
		}
		text += fmt.Sprintf(", %s/s", size(int64(t.BytesPerSec)))
		if t.SecondsLeft >= 0 {
			text += fmt.Sprintf(", %s left", time.Duration(t.SecondsLeft*float64(time.Second)).Round(time.Second))
		}
		b.transfer(i, text)
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 10240 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%d GiB", n)
}
