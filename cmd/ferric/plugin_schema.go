package main

import (
	"github.com/spf13/cobra"

	"ferric/hwmanager/execplugin"
)

// newPluginSchemaCommand is "ferric plugin schema".
func newPluginSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the protocol of executable hardware managers as a JSON schema",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(execplugin.Schema())
			return err
		},
	}
}
