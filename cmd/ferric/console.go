package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/coder/websocket"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// consoleLimit is what one message of a console may hold.
const consoleLimit = 1 << 20

// consoleAttach shows the console of a node and types on it.
func consoleAttach(c *connection) *cobra.Command {
	var recent bool
	cmd := &cobra.Command{Use: "attach NODE", Short: "Look at a console and type on it", Args: cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c),
		Long: "Look at a console that is enabled, and type on it. At the beginning of a line, ~. leaves, ~B sends a break, and ~~ types a tilde.",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			query := url.Values{}
			if !recent {
				query.Set("recent", "false")
			}
			conn, err := api.Console(cmd.Context(), args[0], query)
			if err != nil {
				return err
			}
			defer conn.CloseNow()
			conn.SetReadLimit(consoleLimit)
			if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
				state, err := term.MakeRaw(fd)
				if err != nil {
					return fmt.Errorf("prepare the terminal: %w", err)
				}
				defer func() { _ = term.Restore(fd, state) }()
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				if typeOn(ctx, conn, cmd.InOrStdin()) == nil {
					cancel() // by the escape; at the end of a file the console is looked at further
				}
			}()
			err = showConsole(ctx, conn, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if ctx.Err() != nil {
				_ = conn.Close(websocket.StatusNormalClosure, "")
				return cmd.Context().Err()
			}
			return err
		}}
	cmd.Flags().BoolVar(&recent, "recent", true, "begin with what was said lately")
	return cmd
}

// showConsole prints what the machine says, and on out of band what becomes of the line.
func showConsole(ctx context.Context, conn *websocket.Conn, out, notes io.Writer) error {
	for {
		kind, message, err := conn.Read(ctx)
		var closed websocket.CloseError
		switch {
		case errors.As(err, &closed) && closed.Code == websocket.StatusNormalClosure:
			return fmt.Errorf("%s", first(closed.Reason, "the conductor has ended the console"))
		case err != nil:
			return fmt.Errorf("console: %w", err)
		case kind == websocket.MessageBinary:
			if _, err := out.Write(message); err != nil {
				return err
			}
			continue
		}
		var note struct {
			Connected *bool
			Error     string
			Lost      int
		}
		if json.Unmarshal(message, &note) != nil {
			continue
		}
		switch {
		case note.Lost > 0:
			fmt.Fprintf(notes, "\r\n[%d characters were left out]\r\n", note.Lost)
		case note.Connected != nil && *note.Connected:
			fmt.Fprint(notes, "\r\n[connected; ~. leaves]\r\n")
		default:
			fmt.Fprintf(notes, "\r\n[not connected: %s]\r\n", printable(note.Error))
		}
	}
}

// typeOn passes on what is typed, until the escape, which is nil, or the end.
func typeOn(ctx context.Context, conn *websocket.Conn, in io.Reader) error {
	keys := escapes{atStart: true}
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		text, breaks, leave := keys.take(buf[:n])
		if len(text) > 0 {
			if err := conn.Write(ctx, websocket.MessageBinary, text); err != nil {
				return err
			}
		}
		for range breaks {
			if err := conn.Write(ctx, websocket.MessageText, []byte(`{"break": true}`)); err != nil {
				return err
			}
		}
		if leave {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// escapes finds, at the beginning of lines, what is meant for this program.
type escapes struct{ atStart, afterTilde bool }

func (e *escapes) take(typed []byte) (text []byte, breaks int, leave bool) {
	for _, c := range typed {
		if e.afterTilde {
			e.afterTilde, e.atStart = false, false
			switch c {
			case '.':
				return text, breaks, true
			case 'B':
				breaks++
				e.atStart = true
				continue
			case '~':
			default:
				text = append(text, '~')
			}
		} else if e.atStart && c == '~' {
			e.afterTilde = true
			continue
		}
		text = append(text, c)
		e.atStart = c == '\r' || c == '\n'
	}
	return text, breaks, false
}

// selCommands are those of the event log of a node's BMC.
func selCommands(c *connection) *cobra.Command {
	var out output
	var limit int
	list := &cobra.Command{Use: "list NODE", Short: "List the event log of a node's BMC", Args: cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c)}
	list.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		var rows []map[string]any
		body := map[string]any{}
		for len(rows) < limit {
			var page struct {
				Events []map[string]any
				Next   *int
			}
			body["limit"] = limit - len(rows)
			if err := api.Do(cmd.Context(), http.MethodPost, nodePath(args[0], "vendor_passthru"), url.Values{"method": {"get_sel"}}, body, &page); err != nil {
				return err
			}
			rows = append(rows, page.Events...)
			if page.Next == nil {
				break
			}
			body["from"] = *page.Next
		}
		return out.list(cmd.OutOrStdout(), []string{"id", "time", "sensor", "event", "direction"}, rows)
	}
	out.listFlags(list)
	list.Flags().IntVar(&limit, "limit", 1000, "so many entries at most, the oldest first")
	drop := request(c, "clear NODE", "Empty the event log of a node's BMC", 1, func(_ *cobra.Command, args []string) (string, string, url.Values, any, error) {
		return http.MethodPost, nodePath(args[0], "vendor_passthru"), url.Values{"method": {"clear_sel"}}, struct{}{}, nil
	})
	return group("sel", "Event log of a node's BMC", list, drop)
}

// sensorsCommand reads the sensors of a machine.
func sensorsCommand(c *connection) *cobra.Command {
	var out output
	var refresh bool
	cmd := &cobra.Command{Use: "sensors NODE", Short: "Read the sensors of a machine", Args: cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		var answer struct {
			Sensors map[string]map[string]map[string]any
		}
		var query url.Values
		if refresh {
			query = url.Values{"refresh": {"true"}}
		}
		if err := api.Do(cmd.Context(), http.MethodGet, "/ferric"+nodePath(args[0], "sensors"), query, nil, &answer); err != nil {
			return err
		}
		var rows []map[string]any
		for _, kind := range sortedKeys(answer.Sensors) {
			for _, name := range sortedKeys(answer.Sensors[kind]) {
				fields := answer.Sensors[kind][name]
				row := map[string]any{"kind": kind, "sensor": name, "reading": fields["Sensor Reading"], "status": fields["Status"]}
				if states, isDiscrete := fields["States Asserted"]; isDiscrete {
					row["status"] = states
					joinLists(row)
				}
				rows = append(rows, row)
			}
		}
		return out.list(cmd.OutOrStdout(), []string{"kind", "sensor", "reading", "status"}, rows)
	}
	cmd.Flags().BoolVar(&refresh, "refresh", false, "read them now, where they are read at intervals")
	out.listFlags(cmd)
	return cmd
}
