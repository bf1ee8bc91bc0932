package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// action is what a rule does. raw is the action as the rule has it.
type action struct {
	signature
	run func(e *evaluation, args, raw map[string]any) error
}

var (
	ofPath      = signature{required: []string{"path"}}
	ofPathValue = signature{required: []string{"path", "value"}, formatted: []string{"value"}}
	ofExtend    = signature{required: []string{"path", "value"}, optional: []string{"unique"}, formatted: []string{"value"}}
	ofName      = signature{required: []string{"name"}}
)

// ofPort puts the port that an action is about before its other arguments.
func ofPort(s signature) signature {
	s.required = append([]string{"port_id"}, s.required...)
	return s
}

// actions by name (REST contract, section 9). Literal table.
var actions = map[string]action{
	"fail": {signature{required: []string{"msg"}, formatted: []string{"msg"}}, func(e *evaluation, args, _ map[string]any) error {
		return fmt.Errorf("%w: %s", ErrFailed, text(args["msg"]))
	}},
	"log":              {signature{required: []string{"msg"}, optional: []string{"level"}, formatted: []string{"msg"}}, logText},
	"set-attribute":    {ofPathValue, onNode(setPath)},
	"extend-attribute": {ofExtend, onNode(extendPath)},
	"del-attribute":    {ofPath, onNode(deletePath)},
	"set-capability":   {signature{required: []string{"name", "value"}, formatted: []string{"value"}}, setCapability},
	"unset-capability": {ofName, setCapability},
	"add-trait":        {ofName, addTrait},
	"remove-trait":     {ofName, removeTrait},
	"set-plugin-data": {ofPathValue, onPluginData(func(doc map[string]any, path []string, args map[string]any) error {
		return set(doc, path, args["value"])
	})},
	"extend-plugin-data":    {ofExtend, onPluginData(extend)},
	"unset-plugin-data":     {ofPath, onPluginData(unset)},
	"set-port-attribute":    {ofPort(ofPathValue), onPort(setPath)},
	"extend-port-attribute": {ofPort(ofExtend), onPort(extendPath)},
	"del-port-attribute":    {ofPort(ofPath), onPort(deletePath)},
	"api-call": {signature{required: []string{"url"}, optional: []string{"headers", "proxies", "timeout", "retries", "backoff_factor"},
		formatted: []string{"url"}}, apiCall},
}

var logLevels = []string{"debug", "info", "warning", "error", "critical"}

func logText(e *evaluation, args, _ map[string]any) error {
	level := "info"
	if l, given := args["level"]; given {
		level = strings.ToLower(text(l))
	}
	if !slices.Contains(logLevels, level) {
		return fmt.Errorf("invalid log level %.50s, choose from %s", level, strings.Join(logLevels, ", "))
	}
	e.log(level, text(args["msg"]))
	return nil
}

// change is what an action does to a document at a path.
type change = func(doc map[string]any, path []string, args map[string]any) error

func onNode(fn change) func(e *evaluation, args, raw map[string]any) error {
	return func(e *evaluation, args, _ map[string]any) error { return atPath(e.s.Node, "the node", args, fn) }
}

func onPort(fn change) func(e *evaluation, args, raw map[string]any) error {
	return func(e *evaluation, args, _ map[string]any) error {
		for _, p := range e.s.Ports {
			if p["uuid"] == args["port_id"] {
				return atPath(p, "port "+text(args["port_id"]), args, fn)
			}
		}
		return fmt.Errorf("port %.100s could not be found", text(args["port_id"]))
	}
}

// atPath changes an attribute, which there has to be.
func atPath(doc map[string]any, what string, args map[string]any, fn change) error {
	path, err := splitPath(args["path"], "/")
	if err != nil {
		return err
	}
	if _, known := doc[path[0]]; !known {
		return fmt.Errorf("%s has no attribute %.100q", what, path[0])
	}
	return fn(doc, path, args)
}

func onPluginData(fn change) func(e *evaluation, args, raw map[string]any) error {
	return func(e *evaluation, args, _ map[string]any) error {
		path, err := splitPath(args["path"], ".")
		if err != nil {
			return err
		}
		return fn(e.s.PluginData, path, args)
	}
}

const maxPath = 32

// splitPath splits a path at its separator: of an attribute with slashes, or
// dots where there are none; of plugin data with dots.
func splitPath(v any, separator string) ([]string, error) {
	p, ok := v.(string)
	if ok && separator == "/" {
		if !strings.Contains(p, "/") {
			separator = "."
		}
		p = strings.Trim(p, "/")
	}
	path := strings.Split(p, separator)
	if !ok || slices.Contains(path, "") || len(path) > maxPath {
		return nil, fmt.Errorf("path has to name something, with at most %d parts", maxPath)
	}
	return path, nil
}

func setPath(doc map[string]any, path []string, args map[string]any) error {
	return set(doc, path, args["value"])
}

// set puts a value into a document, with the objects on the way to it.
func set(doc map[string]any, path []string, value any) error {
	parent, err := parentOf(doc, path)
	if err != nil {
		return err
	}
	parent[path[len(path)-1]] = clone(value)
	return nil
}

func parentOf(doc map[string]any, path []string) (map[string]any, error) {
	for _, key := range path[:len(path)-1] {
		part, there := doc[key]
		if !there || part == nil {
			part = map[string]any{}
			doc[key] = part
		}
		next, isObject := part.(map[string]any)
		if !isObject {
			return nil, fmt.Errorf("%.100q of the path is no object", key)
		}
		doc = next
	}
	return doc, nil
}

func extendPath(doc map[string]any, path []string, args map[string]any) error {
	return extend(doc, path, args)
}

// extend appends to a list, which it makes where there is none.
func extend(doc map[string]any, path []string, args map[string]any) error {
	parent, err := parentOf(doc, path)
	if err != nil {
		return err
	}
	key := path[len(path)-1]
	list, isList := parent[key].([]any)
	if !isList && parent[key] != nil {
		return fmt.Errorf("%.100q is no list to extend", key)
	}
	if truth(args["unique"]) && slices.ContainsFunc(list, func(v any) bool { return equal(v, args["value"]) }) {
		return nil
	}
	parent[key] = append(list, clone(args["value"]))
	return nil
}

// deletePath takes a part out of an attribute, or the attribute's value.
func deletePath(doc map[string]any, path []string, _ map[string]any) error {
	if len(path) == 1 {
		doc[path[0]] = nil
		return nil
	}
	for _, key := range path[:len(path)-1] {
		next, isObject := doc[key].(map[string]any)
		if !isObject {
			return fmt.Errorf("there is no %.100q to delete from", key)
		}
		doc = next
	}
	key := path[len(path)-1]
	if _, there := doc[key]; !there {
		return fmt.Errorf("there is no %.100q to delete", key)
	}
	delete(doc, key)
	return nil
}

// unset takes a part out of the plugin data, and the object that it was all of.
// What is not there is no mistake.
func unset(doc map[string]any, path []string, _ map[string]any) error {
	var parent map[string]any
	for _, key := range path[:len(path)-1] {
		next, isObject := doc[key].(map[string]any)
		if !isObject {
			return nil
		}
		parent, doc = doc, next
	}
	delete(doc, path[len(path)-1])
	if parent != nil && len(doc) == 0 {
		delete(parent, path[len(path)-2])
	}
	return nil
}

// clone copies a JSON value, so that loops do not share it.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for key, part := range out {
			out[key] = clone(part)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, part := range v {
			out[i] = clone(part)
		}
		return out
	}
	return v
}

// setCapability changes properties.capabilities, a text "name:value,…"; without
// a value it takes the name out.
func setCapability(e *evaluation, args, _ map[string]any) error {
	name := text(args["name"])
	value, given := args["value"]
	if name == "" || strings.ContainsAny(name, ":,") || given && strings.Contains(text(value), ",") {
		return errors.New("a capability needs a name without colon and comma, and a value without comma")
	}
	properties, isObject := e.s.Node["properties"].(map[string]any)
	if !isObject {
		properties = map[string]any{}
		e.s.Node["properties"] = properties
	}
	var list []string
	old, _ := properties["capabilities"].(string)
	for capability := range strings.SplitSeq(old, ",") {
		if key, _, _ := strings.Cut(capability, ":"); capability != "" && strings.TrimSpace(key) != name {
			list = append(list, capability)
		}
	}
	if given {
		list = append(list, name+":"+text(value))
	}
	properties["capabilities"] = strings.Join(list, ",")
	return nil
}

var traitName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,254}$`)

const maxTraits = 50

// CheckTraits says what is wrong with the traits of a node, whichever way rules
// have made them.
func CheckTraits(traits []string) error {
	if len(traits) > maxTraits {
		return fmt.Errorf("a node has at most %d traits", maxTraits)
	}
	for _, name := range traits {
		if !traitName.MatchString(name) {
			return fmt.Errorf("%.100q is not the name of a trait", name)
		}
	}
	return nil
}

func addTrait(e *evaluation, args, _ map[string]any) error {
	name := text(args["name"])
	traits, _ := e.s.Node["traits"].([]any)
	switch {
	case !traitName.MatchString(name):
		return fmt.Errorf("%.100q is not the name of a trait", name)
	case slices.Contains(traits, any(name)):
		return nil
	case len(traits) >= maxTraits:
		return fmt.Errorf("a node has at most %d traits", maxTraits)
	}
	e.s.Node["traits"] = append(traits, name)
	return nil
}

// removeTrait also succeeds where the node does not have it.
func removeTrait(e *evaluation, args, _ map[string]any) error {
	traits, _ := e.s.Node["traits"].([]any)
	e.s.Node["traits"] = slices.DeleteFunc(slices.Clone(traits), func(t any) bool { return t == args["name"] })
	return nil
}

func apiCall(e *evaluation, args, raw map[string]any) error {
	if e.calls++; e.calls > maxCalls {
		return fmt.Errorf("there are at most %d calls in an inspection", maxCalls)
	}
	c, err := readCall(args)
	if err != nil {
		return err
	}
	if !c.namedIn(raw) {
		return fmt.Errorf("the host %s is not named by the rule itself", c.URL.Host)
	}
	if e.env.Call == nil {
		return errors.New("calls are not available")
	}
	return e.env.Call(e.ctx, c)
}
