// Package acmenic updates the firmware of an imaginary network card by its vendor's program.
package acmenic

import (
	"context"
	"fmt"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

type manager struct{}

func New() hwmanager.Manager      { return manager{} }
func (manager) Name() string      { return "acmenic" }
func (manager) ClassName() string { return "AcmeNICHardwareManager" }
func (manager) Version() string   { return "1.0" }

func (manager) Evaluate(ctx context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
	if _, err := acmenic(ctx, h, "version"); err != nil {
		return hwmanager.None, nil // no card, or no program to reach it
	}
	return hwmanager.ServiceProvider, nil
}

func (manager) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return []hwmanager.Step{hwmanager.NewStep(ipa.Step{Step: "update_acme_nic", Interface: "deploy", RebootRequested: true}, update)}, nil
}

type firmware struct {
	URL      string `json:"url" required:"true" doc:"Where the image is."`
	Checksum string `json:"checksum" required:"true" doc:"sha256:HEX of the image."`
	Version  string `json:"version" required:"true" doc:"The version that the card has to have then."`
}

func update(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, want firmware) (any, error) {
	now, err := acmenic(ctx, h, "version")
	if err != nil || now == want.Version { // already, or after the reboot
		return map[string]any{"before": call.Resume, "after": now}, err
	}
	if call.Resume != nil {
		return nil, fmt.Errorf("the card has version %s after the update, not %s", now, want.Version)
	}
	image, err := h.Download(ctx, hwmanager.Source{URL: want.URL, Checksum: want.Checksum, Progress: call.Progress})
	if err != nil {
		return nil, err
	}
	defer image.Close()
	if _, err := acmenic(ctx, h, "flash", image.Path); err != nil {
		return nil, err
	}
	return nil, &hwmanager.Reboot{State: now}
}

func acmenic(ctx context.Context, h *hwmanager.Host, args ...string) (string, error) {
	out, err := h.Tool(ctx, hwmanager.Tool{Name: "acmenic", Args: args})
	return strings.TrimSpace(string(out)), err
}
