package command

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strings"

	"ferric/api/ipa"
)

// Table maps extensions to their commands by name.
type Table map[string]map[string]Command

// Command is one command of an extension.
type Command struct {
	// Async commands answer RUNNING at once; sync ones before the response.
	Async bool
	// Params lists the parameters, required ones marked with "!" at the end.
	Params []string
	// Extra allows parameters that are not listed (arguments of steps).
	Extra bool
	// Validate (optional) refuses a request before it is recorded.
	Validate func(params map[string]any) error
	// Run does the work. progress takes reports on what is in flight; as long
	// as the latest one says so (Abortable), the command can be cancelled,
	// which ends ctx.
	Run func(ctx context.Context, params map[string]any, progress func(ipa.Progress)) (any, error)
	// After (optional) runs once the answer to a successful sync command has left.
	After func()
}

// Find looks a command up by its name on the wire; the errors have kinds of
// package ipa.
func (t Table) Find(name string) (Command, error) {
	extension, short, err := split(name)
	if err != nil {
		return Command{}, err
	}
	commands, found := t[extension]
	if !found {
		return Command{}, ipa.ObjectNotFound.New("Extension with id %s not found.", extension)
	}
	cmd, found := commands[short]
	if !found {
		return Command{}, ipa.InvalidCommand.New("Unknown command: %s", short)
	}
	return cmd, nil
}

// split cuts a name at its first dot.
func split(name string) (extension, short string, err error) {
	extension, short, dotted := strings.Cut(name, ".")
	if !dotted {
		return "", "", ipa.InvalidCommand.New("Command name must be of the form <extension>.<name>")
	}
	return extension, short, nil
}

// Check applies the command's validator to the parameters of a request.
func (c Command) Check(params map[string]any) error {
	if c.Validate == nil {
		return nil
	}
	err := c.Validate(params)
	var known *ipa.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return ipa.InvalidCommandParams.New("%v", err)
}

// Call checks that all parameters are there, and no others, and runs the
// command; name is for errors.
func (c Command) Call(ctx context.Context, name string, params map[string]any, progress func(ipa.Progress)) (any, error) {
	if err := c.checkNames(name, params); err != nil {
		return nil, err
	}
	return c.Run(ctx, params, progress)
}

// checkNames reports parameters that are missing or unknown. The agent
// contract wants a failed result for these, not an HTTP error.
func (c Command) checkNames(name string, params map[string]any) error {
	var listed, missing []string
	for _, p := range c.Params {
		plain, required := strings.CutSuffix(p, "!")
		listed = append(listed, plain)
		if _, given := params[plain]; required && !given {
			missing = append(missing, plain)
		}
	}
	if len(missing) > 0 {
		return ipa.CommandExecution.New("%s lacks the required parameters: %s", name, strings.Join(missing, ", "))
	}
	if c.Extra {
		return nil
	}
	var unknown []string
	for p := range params {
		if !slices.Contains(listed, p) {
			unknown = append(unknown, p)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return ipa.CommandExecution.New("%s does not take the parameters: %s", name, strings.Join(unknown, ", "))
	}
	return nil
}
