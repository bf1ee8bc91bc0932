package noop

import (
	"context"

	"ferric/conductor/driver"
	"ferric/conductor/task"
)

// Deploy is "noop": somebody else writes the disk, and the node only goes
// through its states. Nothing is switched, booted or cleaned.
type Deploy struct{ content }

// Steps has the one step deploy.deploy, which is done.
func (Deploy) Steps() []driver.Step {
	return []driver.Step{{Interface: "deploy", Name: "deploy", Priority: 100, Restartable: true,
		Run: func(context.Context, *task.Task, map[string]any) (driver.Outcome, error) { return driver.Finished, nil }}}
}

// UsesAgent: nobody is asked.
func (Deploy) UsesAgent() bool { return false }

func (Deploy) Prepare(context.Context, *task.Task) error  { return nil }
func (Deploy) CleanUp(context.Context, *task.Task) error  { return nil }
func (Deploy) TearDown(context.Context, *task.Task) error { return nil }

// PrepareCleaning boots nothing.
func (Deploy) PrepareCleaning(context.Context, *task.Task) (bool, error) { return false, nil }

func (Deploy) TearDownCleaning(context.Context, *task.Task) error { return nil }

var _ driver.Deploy = Deploy{}
