package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// passthruCall calls a method of a vendor, of a node or of a driver.
func passthruCall(c *connection, path func(ident string, below ...string) string) *cobra.Command {
	var out output
	var method string
	var arguments []string
	cmd := &cobra.Command{Use: "call NAME METHOD", Short: "Call a method of the vendor", Args: cobra.ExactArgs(2)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := pairs("--arg", arguments)
		if err != nil {
			return err
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		var answer json.RawMessage
		query := url.Values{"method": {args[1]}}
		if err := api.Do(cmd.Context(), strings.ToUpper(method), path(args[0], "vendor_passthru"), query, body, &answer); err != nil {
			return err
		}
		var object map[string]any
		switch {
		case len(answer) == 0 || string(answer) == "null":
		case cmd.Flags().Changed("format") && json.Unmarshal(answer, &object) == nil:
			return out.show(cmd.OutOrStdout(), object)
		default:
			fmt.Fprintln(cmd.OutOrStdout(), string(answer))
		}
		return nil
	}
	out.showFlags(cmd)
	cmd.Flags().StringVar(&method, "http-method", "POST", "`method` of HTTP: "+strings.Join(httpMethods, ", "))
	mustComplete(cmd, "http-method", httpMethods)
	cmd.Flags().StringArrayVar(&arguments, "arg", nil, "argument `KEY=VALUE` of the method; may be repeated")
	return cmd
}

func passthruList(c *connection, path func(ident string, below ...string) string) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: "list NAME", Short: "List the methods of the vendor", Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		var methods map[string]map[string]any
		if err := api.Do(cmd.Context(), http.MethodGet, path(args[0], "vendor_passthru", "methods"), nil, nil, &methods); err != nil {
			return err
		}
		var rows []map[string]any
		for _, name := range sortedKeys(methods) {
			row := methods[name]
			row["name"] = name
			joinLists(row)
			rows = append(rows, row)
		}
		return out.list(cmd.OutOrStdout(), []string{"name", "http_methods", "async", "description", "attach"}, rows)
	}
	out.listFlags(cmd)
	return cmd
}
