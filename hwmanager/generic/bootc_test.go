package generic

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

// podman stands for the program: "run" takes until it is killed.
type podman struct {
	started context.CancelFunc
	calls   []string
	removed error // the state of the context of "rm"
}

func (p *podman) Run(ctx context.Context, _ string, args ...string) ([]byte, error) {
	p.calls = append(p.calls, args[0])
	switch args[0] {
	case "run":
		p.started()
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case "rm":
		p.removed = ctx.Err()
	}
	return nil, nil
}

// TestBootcIsCancelled: the container, which podman leaves behind, does not go on
// writing to the disk.
func TestBootcIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	program := &podman{started: cancel}
	h := lab(t)
	h.Run = program
	target, err := h.Fence(ipa.BlockDevice{Name: "/dev/sda"})
	if err != nil {
		t.Fatal(err)
	}
	err = runBootc(ctx, h, "registry.test/os:1", target, 8<<30, nil)
	if !ipa.ImageWrite.Is(err) || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("error = %v; want ImageWriteError", err)
	}
	if diff := cmp.Diff([]string{"run", "rm"}, program.calls); diff != "" || program.removed != nil {
		t.Errorf("calls (-want +got):\n%s, removed with %v", diff, program.removed)
	}
}
