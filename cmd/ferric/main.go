// Command ferric is the conductor and the operator's command line. Each noun
// has a file of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// newRoot is the command line, with all its words.
func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "ferric",
		Short:         "ferric deploys operating systems onto bare-metal servers",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c := &connection{stderr: stderr}
	c.flags(root)
	root.AddCommand(newConductorCommand(c), newRamdiskCommand(), newLabCommand())
	root.AddCommand(apiCommands(c)...)
	return root
}

// run is the whole program: its exit status is 2 for mistakes in the command
// line, 130 after an interrupt, 1 for everything else that failed.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot(stdin, stdout, stderr)
	understood := false // the command line, before anything is done
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
			return err
		}
		understood = true
		return nil
	}
	root.SetArgs(joinWords(args))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "ferric: %s\n", explain(err))
	if errors.Is(ctx.Err(), context.Canceled) {
		return 130 // as a shell says of what Ctrl-C has ended
	}
	if !understood || errors.As(err, new(usage)) {
		return 2
	}
	return 1
}

// sortedKeys of a map.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
