// Command ferric is the conductor and the operator's command line. Each noun
// has a file of its own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "ferric",
		Short:         "ferric deploys operating systems onto bare-metal servers",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newConductorCommand(), newRamdiskCommand(), newLabCommand(), newEraseReportCommand())
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "ferric: %v\n", err)
		return 1
	}
	return 0
}
