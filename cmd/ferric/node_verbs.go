package main

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/kdomanski/iso9660"
	"github.com/spf13/cobra"

	"ferric/api/ironic"
)

// verb is one of the provisioning state machine: what is sent, and the states
// that it ends in.
type verb struct {
	word, target, short string
	ends                []string
	members             []bodyMember
}

// bodyMember is a member of the request that a flag gives.
type bodyMember struct {
	flag, name string
	help       string
	required   bool
	read       func(value string, stdin io.Reader) (any, error)
}

func plainText(value string, _ io.Reader) (any, error) { return value, nil }

func jsonText(what string) func(string, io.Reader) (any, error) {
	return func(value string, stdin io.Reader) (any, error) { return readJSON(what, value, stdin) }
}

func truth(value string, _ io.Reader) (any, error) { return value == "true", nil }

// readConfigDrive takes what the API takes: a URL, base64 of a gzipped image,
// JSON, a file with either, or a directory in the layout of a config drive.
func readConfigDrive(value string, stdin io.Reader) (any, error) {
	if strings.HasPrefix(value, "http://") || strings.HasPrefix(value, "https://") {
		return value, nil
	}
	if info, err := os.Stat(value); err == nil && info.IsDir() {
		return packConfigDrive(value)
	}
	b, err := readText(value, stdin)
	if err != nil {
		return nil, fmt.Errorf("--config-drive: %w", err)
	}
	var drive map[string]any
	if json.Unmarshal(b, &drive) == nil {
		return drive, nil
	}
	return strings.TrimSpace(string(b)), nil
}

// packConfigDrive makes an image of what is in a directory.
func packConfigDrive(dir string) (string, error) {
	image, err := iso9660.NewWriter()
	if err != nil {
		return "", err
	}
	defer image.Cleanup()
	if err := image.AddLocalDirectory(dir, "."); err != nil {
		return "", fmt.Errorf("--config-drive %s: %w", dir, err)
	}
	var packed strings.Builder
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	zip := gzip.NewWriter(text)
	if err := errors.Join(image.WriteTo(zip, "config-2"), zip.Close(), text.Close()); err != nil {
		return "", fmt.Errorf("--config-drive %s: %w", dir, err)
	}
	return packed.String(), nil
}

// verbs that nodes have. Literal table.
var verbs = []verb{
	{"manage", ironic.VerbManage, "Take a node under control: check that its BMC answers", []string{ironic.StateManageable}, nil},
	{"provide", ironic.VerbProvide, "Make a node available; it is cleaned first", []string{ironic.StateAvailable}, nil},
	{"inspect", ironic.VerbInspect, "Find out what a machine consists of", []string{ironic.StateManageable}, nil},
	{"clean", ironic.VerbClean, "Run clean steps", []string{ironic.StateManageable}, []bodyMember{
		{"clean-steps", "clean_steps", "the steps: `JSON`, a file, or - for standard input", false, jsonText("--clean-steps")},
		{"runbook", "runbook", "`UUID` or name of the runbook to follow", false, plainText},
		{"disable-ramdisk", "disable_ramdisk", "without booting the agent", false, truth},
	}},
	{"service", ironic.VerbService, "Run service steps on a deployed node", []string{ironic.StateActive}, []bodyMember{
		{"service-steps", "service_steps", "the steps: `JSON`, a file, or - for standard input", false, jsonText("--service-steps")},
		{"runbook", "runbook", "`UUID` or name of the runbook to follow", false, plainText},
		{"disable-ramdisk", "disable_ramdisk", "without booting the agent", false, truth},
	}},
	{"deploy", ironic.VerbActive, "Deploy an operating system", []string{ironic.StateActive}, deployMembers},
	{"rebuild", ironic.VerbRebuild, "Deploy the operating system again", []string{ironic.StateActive}, deployMembers},
	{"undeploy", ironic.VerbDeleted, "Take the operating system off; the node is cleaned", []string{ironic.StateAvailable, ironic.StateManageable}, nil},
	{"adopt", ironic.VerbAdopt, "Take a machine over that runs already", []string{ironic.StateActive}, nil},
	{"rescue", ironic.VerbRescue, "Boot a rescue system", []string{ironic.StateRescue}, []bodyMember{
		{"rescue-password", "rescue_password", "`password` of the rescue system", true, plainText},
	}},
	{"unrescue", ironic.VerbUnrescue, "Boot the operating system again", []string{ironic.StateActive}, nil},
	{"abort", ironic.VerbAbort, "Abort what is under way", nil, nil},
	{"unhold", ironic.VerbUnhold, "Go on after a hold", nil, nil},
}

var deployMembers = []bodyMember{
	{"config-drive", "configdrive", "`JSON`, a file, a URL, or - for standard input", false, readConfigDrive},
	{"deploy-steps", "deploy_steps", "further steps: `JSON`, a file, or - for standard input", false, jsonText("--deploy-steps")},
}

func verbCommands(c *connection) []*cobra.Command {
	var list []*cobra.Command
	for _, v := range verbs {
		list = append(list, v.command(c))
	}
	return list
}

func (v verb) command(c *connection) *cobra.Command {
	var wait string
	given := map[string]*string{}
	cmd := &cobra.Command{Use: v.word + " NODE...", Short: v.short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: nodes.complete(c)}
	for _, m := range v.members {
		given[m.name] = cmd.Flags().String(m.flag, "", m.help)
		if m.name == "disable_ramdisk" {
			cmd.Flags().Lookup(m.flag).NoOptDefVal = "true"
		}
		if m.name == "runbook" {
			mustCompleteBy(cmd, m.flag, runbooks.completeIdents(c))
		}
		if m.required {
			if err := cmd.MarkFlagRequired(m.flag); err != nil {
				panic(err) // the flag was defined above
			}
		}
	}
	if v.ends != nil {
		cmd.Flags().StringVar(&wait, "wait", "", "wait until it is done, for so many `seconds`; 0 is for ever")
		cmd.Flags().Lookup("wait").NoOptDefVal = "0"
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]any{"target": v.target}
		for _, m := range v.members {
			if !cmd.Flags().Changed(m.flag) {
				continue
			}
			value, err := m.read(*given[m.name], cmd.InOrStdin())
			if err != nil {
				return err
			}
			body[m.name] = value
		}
		limit, err := seconds("wait", wait)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		api, err := c.client(ctx)
		if err != nil {
			return err
		}
		var begun []string
		err = each(args, func(ident string) error {
			err := api.Do(ctx, http.MethodPut, nodePath(ident, "states", "provision"), nil, body, nil)
			if err == nil {
				begun = append(begun, ident)
			}
			return err
		})
		if wait == "" || len(begun) == 0 {
			return err
		}
		return errors.Join(err, waitFor(ctx, api, time.Duration(limit)*time.Second, begun, v.ends, cmd.ErrOrStderr()))
	}
	return cmd
}

func powerCommands(c *connection) []*cobra.Command {
	return []*cobra.Command{
		group("power", "Power of a machine", powerCommand(c, "on", "Switch machines on", ironic.PowerOn, ""), powerCommand(c, "off", "Switch machines off", ironic.PowerOff, ironic.PowerSoftOff)),
		powerCommand(c, "reboot", "Reboot machines", ironic.PowerReboot, ironic.PowerSoftReboot),
	}
}

func powerCommand(c *connection, word, short, target, soft string) *cobra.Command {
	var gently bool
	var timeout string
	cmd := &cobra.Command{Use: word + " NODE...", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: nodes.complete(c)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body := map[string]any{"target": target}
		if gently {
			body["target"] = soft
		}
		if timeout != "" {
			limit, err := seconds("power-timeout", timeout)
			if err != nil {
				return err
			}
			body["timeout"] = limit
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		return each(args, func(ident string) error {
			return api.Do(cmd.Context(), http.MethodPut, nodePath(ident, "states", "power"), nil, body, nil)
		})
	}
	if soft != "" {
		cmd.Flags().BoolVar(&gently, "soft", false, "ask the operating system to do it")
	}
	cmd.Flags().StringVar(&timeout, "power-timeout", "", "`seconds` to wait for the power state")
	return cmd
}

// each does the same for all and gives every failure with its name.
func each(idents []string, do func(ident string) error) error {
	var failures []error
	for _, ident := range idents {
		if err := do(ident); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", ident, err))
		}
	}
	return errors.Join(failures...)
}
