package execplugin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"strings"

	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/hwmanager"
)

// notHandled is the exit status of a plugin that passes.
const notHandled = 3

// arguments are the members of a request that depend on the method.
type arguments map[string]any

// call is one question to a plugin.
type call struct {
	method   string
	step     string // of execute_step
	args     arguments
	env      []string             // beside that of all calls
	progress func(progressReport) // nil for nobody
}

// what the call is about, for errors.
func (c call) what() string {
	if c.step != "" {
		return "step " + c.step
	}
	return c.method
}

// CallError is a call that failed, but for errors that the plugin gave a type
// of the protocol.
type CallError struct {
	Plugin string
	Call   string // the method, or "step NAME"
	Reason string // what the plugin did, in words
	Said   string // the end of its standard error
	cause  error
}

// Error implements error.
func (e *CallError) Error() string {
	text := fmt.Sprintf("plugin %s, %s: %s", e.Plugin, e.Call, e.Reason)
	if e.Said != "" {
		text += "; it said: " + e.Said
	}
	return text
}

// Unwrap is the error of a context that ended.
func (e *CallError) Unwrap() error { return e.cause }

func (p *Plugin) fail(c call, reason string) *CallError {
	return &CallError{Plugin: p.Name(), Call: c.what(), Reason: reason}
}

// wrong is the error of a result that is not what the method wants.
func (p *Plugin) wrong(method string, err error) error {
	return p.fail(call{method: method}, "its result is wrong: "+reason(err))
}

// ask asks for a result that is decoded into what into points to.
func (p *Plugin) ask(ctx context.Context, h *hwmanager.Host, method string, args arguments, into any) error {
	return p.answerTo(ctx, h, call{method: method, args: args}, into)
}

// answer asks for a result of type T.
func answer[T any](ctx context.Context, p *Plugin, h *hwmanager.Host, method string, args arguments) (T, error) {
	var result T
	err := p.ask(ctx, h, method, args, &result)
	return result, err
}

// answerTo runs a call to its end. A plugin that lacks the method passes.
func (p *Plugin) answerTo(ctx context.Context, h *hwmanager.Host, c call, into any) error {
	if c.method != "describe" && !p.offers(c.method) {
		return hwmanager.ErrNotHandled
	}
	question := p.request(h, c)
	c.env = plugin.Variables(question)
	request, err := json.Marshal(question)
	if err != nil {
		return p.fail(c, "the request cannot be encoded: "+err.Error())
	}
	end := p.run(ctx, h, c, request)
	if err := p.judge(c, end); err != nil {
		return err
	}
	// Null would be taken for an empty list or an empty object.
	switch reflect.TypeOf(into).Elem().Kind() {
	case reflect.Slice, reflect.Map, reflect.Struct:
		if _, raw := into.(*json.RawMessage); !raw && string(end.reply.result) == "null" {
			return p.wrong(c.method, fmt.Errorf("it is null"))
		}
	}
	if err := decode(end.reply.result, into); err != nil {
		return p.wrong(c.method, err)
	}
	return nil
}

// request is what the plugin reads. It never holds a token of the agent's.
func (p *Plugin) request(h *hwmanager.Host, c call) arguments {
	request := arguments{"sdk": hwmanager.SDKVersion, "method": c.method}
	if c.method != "describe" {
		request["host"] = map[string]string{"sys": absolute(h.Sys), "proc": absolute(h.Proc), "dev": absolute(h.Dev), "etc": absolute(h.Etc)}
	}
	for name, value := range c.args {
		if node, ok := value.(hwmanager.Node); ok {
			value = withoutToken(node)
		}
		request[name] = value
	}
	return request
}

// withoutToken is node without the token of the agent, masked or not.
func withoutToken(node hwmanager.Node) hwmanager.Node {
	internal, ok := node["driver_internal_info"].(map[string]any)
	if !ok || internal["agent_secret_token"] == nil {
		return node
	}
	internal = maps.Clone(internal)
	delete(internal, "agent_secret_token")
	node = maps.Clone(node)
	node["driver_internal_info"] = internal
	return node
}

// absolute is a path for a process in another directory.
func absolute(path string) string {
	if path == "" {
		return ""
	}
	whole, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return whole
}

// judge is what is wrong with the end of a call, nil if it has a result.
func (p *Plugin) judge(c call, end end) error {
	failed := func(format string, args ...any) error {
		return &CallError{Plugin: p.Name(), Call: c.what(), Reason: fmt.Sprintf(format, args...), Said: end.said, cause: end.cause}
	}
	said := end.reply
	switch {
	case end.reason != "":
		return failed("%s", end.reason)
	case end.signal != "":
		return failed("it was killed by a signal: %s", end.signal)
	case said.wrong != "":
		return failed("it %s", said.wrong)
	case said.failed != nil:
		return p.stated(c, *said.failed, end)
	case end.status == notHandled && said.ended == "":
		return hwmanager.ErrNotHandled
	case end.status != 0 && said.ended != "":
		return failed("it ended with exit status %d although it had written a %s", end.status, said.ended)
	case end.status != 0:
		return failed("it ended with exit status %d", end.status)
	case len(end.left) > 0:
		return failed("it left processes behind, which were killed: %s", strings.Join(end.left, ", "))
	case said.reboot != nil && c.step != "":
		return &hwmanager.Reboot{State: said.reboot, Warm: said.warm}
	case said.reboot != nil:
		return failed("it wants a reboot, which only a step can have")
	case said.ended == "":
		return failed("it ended without a result")
	}
	return nil
}

// stated is the error that a plugin gave itself. Where that is one of the
// protocol's it is that on the wire.
func (p *Plugin) stated(c call, f failure, end end) error {
	message := clean(strings.TrimSpace(f.Message))
	if len(end.left) > 0 {
		message += " (it left processes behind, which were killed: " + strings.Join(end.left, ", ") + ")"
	}
	for _, kind := range statable() {
		if kind.Type == f.Type {
			return kind.New("plugin %s, %s: %s", p.Name(), c.what(), message)
		}
	}
	if f.Type != "" {
		message = clean(f.Type) + ": " + message
	}
	return &CallError{Plugin: p.Name(), Call: c.what(), Reason: cmp.Or(message, "it failed"), Said: end.said}
}

// statable are the errors of the protocol that a plugin may give a type of. The
// others are the agent's own: they would tell the conductor that a command was
// not taken, or that the steps have to be listed anew.
func statable() []ipa.Kind {
	return []ipa.Kind{
		ipa.InvalidCommandParams, ipa.DeviceNotFound,
		ipa.ImageDownloadTimeout, ipa.ImageDownload, ipa.ImageDownloadOutOfSpace, ipa.ImageDownloadFatal,
		ipa.ImageChecksum, ipa.ImageWrite, ipa.InvalidImage,
		ipa.CommandExecution, ipa.Cleaning, ipa.Deployment, ipa.Servicing,
		ipa.BlockDeviceErase, ipa.BlockDeviceFailed, ipa.SoftwareRAID, ipa.ProtectedDevice, ipa.FileSystemUnsupported,
		ipa.ManagerConfiguration, ipa.IncompatibleMethod, ipa.MethodNotFound,
		ipa.SystemReboot, ipa.ClockSync, ipa.ContainerNotPermitted,
	}
}
