package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferric/api/client"
	"ferric/api/ironic"
)

// defaultDeployParallel is how many machines of a set are deployed at once.
const defaultDeployParallel = 50

const deployHelp = `Deploy an operating system onto a set of machines: those named, and those that
an inventory describes, which are enrolled first (see: ferric enroll --help).

A node that is new is taken under control and cleaned on the way. One that has
this image already is left alone, unless --rebuild asks for it again. What is to
be deployed is in the flags, or in instance_info and config_drive of the file,
or of the node. It can be run again after a failure or an interruption.`

// order is what is to be deployed, as the command line says it.
type order struct {
	image, checksum, format string
	info                    map[string]any
	drive                   any
	steps                   any
	rebuild                 bool
}

// deployCommand is "ferric deploy NODE... [-f FILE]".
func deployCommand(c *connection) *cobra.Command {
	var o order
	var files, info []string
	var drive, deploySteps, wait string
	var parallel int
	out := output{format: "table"}
	cmd := &cobra.Command{Use: "deploy [NODE...]", Short: "Deploy an operating system onto a set of machines", Long: deployHelp, Args: cobra.ArbitraryArgs, ValidArgsFunction: nodes.complete(c)}
	cmd.AddCommand(group("template", "Steps of deployments that traits ask for", deployTemplates.commands(c)...))
	flags := cmd.Flags()
	flags.StringArrayVarP(&files, "file", "f", nil, "inventory `file` with machines, - for standard input; may be repeated")
	flags.StringVar(&o.image, "image", "", "`URL` of the image")
	flags.StringVar(&o.checksum, "checksum", "", "SHA-256 or SHA-512 `digest` of the image, or the URL of a list of digests")
	flags.StringVar(&o.format, "disk-format", "", "`format` of the image: qcow2 or raw")
	flags.StringArrayVar(&info, "instance-info", nil, "more of what is deployed: `KEY=VALUE`; may be repeated")
	flags.StringVar(&drive, "config-drive", "", "`JSON`, a file, a directory, a URL, or - for standard input; JSON gets the name of each machine as its hostname")
	flags.StringVar(&deploySteps, "deploy-steps", "", "further steps: `JSON`, a file, or - for standard input")
	flags.BoolVar(&o.rebuild, "rebuild", false, "deploy again what is deployed already")
	flags.IntVar(&parallel, "parallel", defaultDeployParallel, "work on so many `machines` at once")
	flags.StringVar(&wait, "wait", "7200", "wait for a machine for at most so many `seconds`; 0 is for ever")
	flags.StringVar(&out.format, "format", "table", "`form` of the output: table, json, yaml, value, csv")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && files == nil {
			return usageError("name nodes, or a file with machines by -f")
		}
		if parallel < 1 {
			return usageError("--parallel: %d is less than one machine", parallel)
		}
		limit, err := seconds("wait", wait)
		if err != nil {
			return err
		}
		if o.info, err = pairs("--instance-info", info); err != nil {
			return err
		}
		if err := o.addImage(); err != nil {
			return err
		}
		if drive != "" {
			if o.drive, err = readConfigDrive(drive, cmd.InOrStdin()); err != nil {
				return err
			}
		}
		if deploySteps != "" {
			if o.steps, err = readJSON("--deploy-steps", deploySteps, cmd.InOrStdin()); err != nil {
				return err
			}
		}
		var machines []*described
		if files != nil {
			if machines, err = readInventories(files, cmd); err != nil {
				return err
			}
		}
		names := append(append([]string{}, args...), labels(machines)...)
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		f := newFleet(api, cmd.ErrOrStderr(), names, parallel, limit)
		results := make([]deployed, len(names))
		failures := f.run(cmd.Context(), func(ctx context.Context, i int) error {
			began := time.Now()
			defer func() { results[i].took = time.Since(began) }()
			if i < len(args) {
				return f.deploy(ctx, i, args[i], nil, o, &results[i])
			}
			d := machines[i-len(args)]
			r := enrol(ctx, f.api, d, false)
			if r.err != nil {
				return r.err
			}
			return f.deploy(ctx, i, r.node, d, o, &results[i])
		})
		rows := make([]map[string]any, len(names))
		for i, r := range results {
			rows[i] = map[string]any{"name": names[i], "outcome": first(r.outcome, "failed"), "provision_state": r.state, "seconds": int(r.took.Round(time.Second).Seconds())}
			if failures[i] != nil {
				rows[i]["outcome"] = "failed"
				failures[i] = fmt.Errorf("%s: %w", names[i], failures[i])
			}
		}
		return errors.Join(out.list(cmd.OutOrStdout(), []string{"name", "outcome", "provision_state", "seconds"}, rows), errors.Join(failures...))
	}
	return cmd
}

// addImage puts what the flags say of the image where the API has it.
func (o *order) addImage() error {
	if o.image != "" {
		o.info["image_source"] = o.image
	}
	if o.format != "" {
		o.info["image_disk_format"] = o.format
	}
	digest := strings.ToLower(o.checksum)
	for _, algorithm := range []string{"sha256", "sha512"} {
		digest = strings.TrimPrefix(digest, algorithm+":")
	}
	switch {
	case digest == "":
	case strings.Contains(digest, "://"):
		o.info["image_checksum"] = o.checksum
	case strings.Trim(digest, "0123456789abcdef") != "" || len(digest) != 64 && len(digest) != 128:
		return usageError("--checksum: %q is neither a SHA-256 or SHA-512 digest (64 or 128 hexadecimal digits) nor a URL", o.checksum)
	default:
		o.info["image_os_hash_algo"] = map[int]string{64: "sha256", 128: "sha512"}[len(digest)]
		o.info["image_os_hash_value"] = digest
	}
	return nil
}

// deployed is what became of a machine of a set.
type deployed struct {
	outcome string // deployed, unchanged
	state   string
	took    time.Duration
}

// deploy brings a node to active with what is ordered; d is its description, if
// it comes from a file.
func (f *fleet) deploy(ctx context.Context, i int, ident string, d *described, o order, r *deployed) error {
	n, err := f.bring(ctx, i, ident, ironic.StateAvailable)
	if n != nil {
		r.state = n.ProvisionState
	}
	if err != nil {
		return err
	}
	info := map[string]any{}
	drive := o.drive
	if d != nil {
		described, _ := d.node["instance_info"].(map[string]any)
		maps.Copy(info, described)
		if drive == nil {
			drive = d.configDrive
		}
	}
	maps.Copy(info, o.info)
	verb := ironic.VerbActive
	if n.ProvisionState == ironic.StateActive {
		if !o.rebuild {
			return f.alreadyDeployed(i, n, info, r)
		}
		verb = ironic.VerbRebuild
	}
	if patch := changes(map[string]any{"instance_info": n.InstanceInfo}, map[string]any{"instance_info": info}); len(patch) > 0 {
		if _, err := f.api.UpdateNode(ctx, ident, patch); err != nil {
			return err
		}
	}
	body := map[string]any{"target": verb}
	if drive != nil {
		body["configdrive"] = named(drive, n)
	}
	if o.steps != nil {
		body["deploy_steps"] = o.steps
	}
	if err := f.api.Do(ctx, http.MethodPut, nodePath(ident, "states", "provision"), nil, body, nil); err != nil {
		return err
	}
	r.state, err = waitOne(ctx, f.api, ident, []string{ironic.StateActive}, i, f.board)
	if err != nil {
		return f.advise(ctx, ident, r.state, err)
	}
	r.outcome = "deployed"
	return nil
}

// alreadyDeployed accepts a node that has what is ordered.
func (f *fleet) alreadyDeployed(i int, n *ironic.Node, info map[string]any, r *deployed) error {
	for _, key := range []string{"image_source", "image_os_hash_value", "image_checksum"} {
		if want, ok := info[key]; ok && !equal(want, n.InstanceInfo[key]) {
			return &client.StateError{Node: n.UUID, State: n.ProvisionState, Want: []string{ironic.StateAvailable},
				LastError: fmt.Sprintf("its %s is %v; give --rebuild to replace what is deployed", key, n.InstanceInfo[key])}
		}
	}
	r.outcome = "unchanged"
	f.board.state(i, "active already")
	return nil
}

// named adds to a config drive that the conductor makes what tells machines
// apart, where it does not say so itself.
func named(drive any, n *ironic.Node) any {
	object, ok := drive.(map[string]any)
	if !ok {
		return drive
	}
	object = maps.Clone(object)
	meta, ok := object["meta_data"].(map[string]any)
	if !ok && object["meta_data"] != nil {
		return drive // for the conductor to refuse
	}
	meta = maps.Clone(meta)
	if meta == nil {
		meta = map[string]any{}
	}
	add := func(key, value string) {
		if _, ok := meta[key]; !ok && value != "" {
			meta[key] = value
		}
	}
	add("uuid", n.UUID)
	add("name", deref(n.Name))
	add("hostname", deref(n.Name))
	object["meta_data"] = meta
	return object
}
