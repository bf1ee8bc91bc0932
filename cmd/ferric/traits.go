package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// traitCommands are those of what has traits: nodes and runbooks.
func traitCommands(c *connection, n noun) *cobra.Command {
	var out output
	list := &cobra.Command{Use: "list " + n.placeholder(), Short: "List the traits", Args: cobra.ExactArgs(1), ValidArgsFunction: n.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			var answer struct{ Traits []string }
			if err := api.Do(cmd.Context(), http.MethodGet, n.item(args[0])+"/traits", nil, nil, &answer); err != nil {
				return err
			}
			var rows []map[string]any
			for _, trait := range answer.Traits {
				rows = append(rows, map[string]any{"traits": trait})
			}
			return out.list(cmd.OutOrStdout(), []string{"traits"}, rows)
		}}
	out.listFlags(list)
	return group("trait", "Traits of a "+n.name, list, traitChange(c, n, "add"), traitChange(c, n, "remove"))
}

// oldTraitWords are "node add trait" and "node remove trait", as scripts have them.
func oldTraitWords(c *connection, word string) *cobra.Command {
	cmd := traitChange(c, nodes, word)
	cmd.Use = strings.Replace(cmd.Use, word, "trait", 1)
	words := group(word, cmd.Short, cmd)
	words.Hidden = true // it is "node trait add" now
	return words
}

// traitChange adds or removes traits.
func traitChange(c *connection, n noun, word string) *cobra.Command {
	var all bool
	method, short, done := http.MethodPut, "Add traits", "Added"
	if word == "remove" {
		method, short, done = http.MethodDelete, "Remove traits", "Removed"
	}
	cmd := &cobra.Command{Use: word + " " + n.placeholder() + " TRAIT...", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: n.complete(c)}
	if method == http.MethodDelete {
		cmd.Flags().BoolVar(&all, "all", false, "remove all of them")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 1) {
			return usageError("name the traits")
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		at := n.item(args[0]) + "/traits"
		if all {
			return api.Do(cmd.Context(), method, at, nil, nil, nil)
		}
		return each(args[1:], func(trait string) error {
			if err := api.Do(cmd.Context(), method, at+"/"+url.PathEscape(trait), nil, nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s trait %s\n", done, trait)
			return nil
		})
	}
	return cmd
}
