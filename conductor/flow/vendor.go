package flow

import (
	"context"
	"slices"

	"ferric/conductor/driver"
	"ferric/conductor/task"
)

// VendorMethods are those of the node's vendor interface.
func (f *Flow) VendorMethods(ctx context.Context, id int64) (map[string]driver.VendorMethod, error) {
	_, ifs, err := f.node(ctx, id)
	if err != nil {
		return nil, err
	}
	return ifs.Vendor.Methods(), nil
}

// CallVendor calls a method of the node's vendor interface with the arguments
// as they came. A method that is asynchronous has only begun; its failure is in
// last_error.
func (f *Flow) CallVendor(ctx context.Context, id int64, name, httpMethod string, args map[string]any) (result any, async bool, err error) {
	n, ifs, err := f.node(ctx, id)
	if err != nil {
		return nil, false, err
	}
	method, ok := ifs.Vendor.Methods()[name]
	switch {
	case !ok:
		return nil, false, NoVendorMethod(name)
	case !slices.Contains(method.HTTPMethods, httpMethod):
		return nil, false, invalid("The method %s does not support HTTP %s", name, httpMethod)
	}
	if !method.RequireExclusiveLock { // and so no worker that would have it: the client waits
		if err := method.Validate(n, args); err != nil {
			return nil, false, err
		}
		result, err = method.Run(ctx, &task.Task{Node: n, Store: f.store, Log: f.log.WithField("node", n.UUID)}, args)
		return result, method.Async, err
	}
	err = f.tasks.Do(ctx, id, "vendor method "+name, func(ctx context.Context, t *task.Task) error {
		if err := method.Validate(t.Node, args); err != nil {
			return err
		}
		if !method.Async {
			result, err = method.Run(ctx, t, args)
			return err
		}
		return f.inBackground(ctx, t, "calling the vendor method "+name+" of", func(ctx context.Context, t *task.Task) error {
			_, err := method.Run(ctx, t, args)
			return err
		})
	})
	return result, method.Async, err
}

// NoVendorMethod is the refusal of a method that does not exist.
func NoVendorMethod(name string) error { return invalid("No handler for method %s", name) }
