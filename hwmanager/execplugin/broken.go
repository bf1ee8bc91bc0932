package execplugin

import (
	"context"

	"ferric/hwmanager"
)

// Broken stands in for a plugin that is required and cannot be had: it has the
// listing of steps fail with the reason.
type Broken struct {
	name   string
	reason error
}

// NewBroken makes a stand-in for the plugin name.
func NewBroken(name string, reason error) *Broken { return &Broken{name: name, reason: reason} }

// Name implements hwmanager.Manager.
func (b *Broken) Name() string { return b.name }

// ClassName implements hwmanager.Manager.
func (b *Broken) ClassName() string { return b.name }

// Version implements hwmanager.Manager.
func (b *Broken) Version() string { return "none" }

// Required reports that the machine must not go on without it.
func (b *Broken) Required() bool { return true }

// Evaluate implements hwmanager.Manager.
func (b *Broken) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.ServiceProvider, nil
}

// CleanSteps implements hwmanager.CleanStepper.
func (b *Broken) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return nil, b.reason
}

// DeploySteps implements hwmanager.DeployStepper.
func (b *Broken) DeploySteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return nil, b.reason
}

// ServiceSteps implements hwmanager.ServiceStepper.
func (b *Broken) ServiceSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return nil, b.reason
}
