package fake

import (
	"context"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Vendor has the methods of Ironic's fake.
type Vendor struct{ delay delay }

// Properties are said to be needed, and are not.
func (Vendor) Properties() map[string]string {
	return map[string]string{"B1": "B1 description. Required.", "B2": "B2 description. Required."}
}

// Methods compare the argument bar with a word, but for log_passthrough.
func (v Vendor) Methods() map[string]driver.VendorMethod {
	post := []string{"POST"}
	return map[string]driver.VendorMethod{
		"first_method": {Async: true, HTTPMethods: post, RequireExclusiveLock: true, Description: "Test if the value of bar is baz",
			Validate: needsBar("first_method"), Run: v.compare("baz")},
		"second_method": {Async: true, HTTPMethods: post, RequireExclusiveLock: true, Description: "Test if the value of bar is kazoo",
			Validate: needsBar("second_method"), Run: v.compare("kazoo")},
		"third_method_sync": {HTTPMethods: post, RequireExclusiveLock: true, Description: "Test if the value of bar is meow",
			Validate: needsBar("third_method_sync"), Run: v.compare("meow")},
		"fourth_method_shared_lock": {Async: true, HTTPMethods: post, Description: "Test if the value of bar is woof",
			Validate: needsBar("fourth_method_shared_lock"), Run: v.compare("woof")},
		"log_passthrough": {Async: true, HTTPMethods: post, RequireExclusiveLock: true, Description: "Test pass-through to wait.",
			Validate: func(*store.Node, map[string]any) error { return nil },
			Run: func(ctx context.Context, t *task.Task, _ map[string]any) (any, error) {
				_, err := v.log(ctx, t, nil)
				return nil, err
			}},
	}
}

func needsBar(method string) func(*store.Node, map[string]any) error {
	return func(_ *store.Node, args map[string]any) error {
		if bar := args["bar"]; bar == nil || bar == "" || bar == false || bar == 0. {
			return driver.Missing("Parameter 'bar' not passed to method '%s'.", method)
		}
		return nil
	}
}

func (v Vendor) compare(word string) func(context.Context, *task.Task, map[string]any) (any, error) {
	return func(ctx context.Context, _ *task.Task, args map[string]any) (any, error) {
		return args["bar"] == word, v.delay.wait(ctx)
	}
}

// CleanSteps has the one that every automated cleaning runs.
func (v Vendor) CleanSteps() []driver.Step {
	return []driver.Step{{Interface: "vendor", Name: "log_passthrough", Priority: 1, Restartable: true, Run: v.log}}
}

// ServiceSteps are that, and one that ends when it is aborted.
func (v Vendor) ServiceSteps() []driver.Step {
	return append(v.CleanSteps(), driver.Step{Interface: "vendor", Name: "trigger_servicewait", Restartable: true,
		Run: func(context.Context, *task.Task, map[string]any) (driver.Outcome, error) { return driver.Waiting, nil }})
}

func (v Vendor) log(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	t.Log.Debug("log_passthrough was called")
	return driver.Finished, v.delay.wait(ctx)
}

var (
	_ driver.Vendor         = Vendor{}
	_ driver.CleanStepper   = Vendor{}
	_ driver.ServiceStepper = Vendor{}
)
