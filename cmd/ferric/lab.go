package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"ferric/integration/lab"
	"ferric/ramdisk"
)

// labStart bounds "ferric lab up"; the probe for KVM alone may take ten seconds.
const labStart = time.Minute

// detachKey is what Ctrl-] sends: it ends "ferric lab console".
const detachKey = 0x1d

// newLabCommand is "ferric lab".
func newLabCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run a virtual rack: machines with BMCs, in namespaces that need no privilege",
	}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "`directory` of the rack (default: $XDG_STATE_HOME/ferric/lab, else ferric/lab in the user's cache)")
	resolve := func() (string, error) {
		if dir == "" {
			return lab.DefaultDir()
		}
		return filepath.Abs(dir)
	}
	cmd.AddCommand(newLabUpCommand(resolve), newLabServeCommand(resolve), newLabDownCommand(resolve),
		newLabStatusCommand(resolve), newLabInventoryCommand(resolve), newLabConsoleCommand(resolve), newLabImageCommand(), newLabDemoCommand(resolve))
	return cmd
}

// labRack holds the flags that "up" and "serve" share.
type labRack struct {
	nodes                []string
	api, accel           string
	ramdisk, images      string
	config               string
	fullErase, conductor bool
}

func (r *labRack) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&r.nodes, "node", []string{"n1,firmware=bios,disk=virtio", "n2,firmware=uefi,netboot=pxe,disk=nvme"},
		"a machine: NAME[,firmware=bios|uefi][,netboot=rom|pxe|http][,memory=MIB][,disk=virtio|nvme|sata|scsi[:MIB]]…[,nic=DEVICE]; repeatable")
	f.StringVar(&r.api, "api", fmt.Sprintf("127.0.0.1:%d", lab.APIPort), "`address` on this host that leads to the conductor's API")
	f.StringVar(&r.accel, "accel", "", "tcg or kvm (default: kvm if a probe guest boots under it)")
	f.StringVar(&r.ramdisk, "ramdisk", "", "`directory` that \"ferric ramdisk build\" filled")
	f.StringVar(&r.images, "images", "", "`directory` served to the machines at http://"+lab.Address+":8080/")
	f.StringVar(&r.config, "config", "", "the conductor's configuration `file` (default: one is written for the rack)")
	f.BoolVar(&r.fullErase, "full-erase", false, "automated cleaning erases whole disks, not only their metadata")
	f.BoolVar(&r.conductor, "conductor", true, "run a conductor in the rack")
}

func newLabUpCommand(resolve func() (string, error)) *cobra.Command {
	var rack labRack
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a rack in the background",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolve()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), labStart)
			defer cancel()
			if _, err := lab.QueryStatus(ctx, dir); err == nil {
				return fmt.Errorf("a rack is already running in %s", dir)
			}
			// the same flags, for the process that stays
			args := slices.Clone(os.Args[1:])
			args[slices.Index(args, "up")] = "serve"
			status, err := startRack(ctx, dir, args, io.Discard)
			if err == nil && rack.conductor {
				status, err = awaitAPI(ctx, dir, rack.api)
			}
			if err != nil {
				return err
			}
			printRack(cmd.OutOrStdout(), status)
			return nil
		},
	}
	rack.flags(cmd)
	return cmd
}

// startRack starts this program with args, which serve a rack in dir, and waits until the rack answers. Meanwhile what
// that process prints, which goes to DIR/rack.log, is shown on out.
func startRack(ctx context.Context, dir string, args []string, out io.Writer) (*lab.Status, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start the rack: %w", err)
	}
	logPath := filepath.Join(dir, "rack.log")
	log, err := os.Create(logPath)
	if err != nil {
		return nil, fmt.Errorf("start the rack: %w", err)
	}
	defer log.Close()
	serve := exec.Command(exe, args...)
	serve.Stdout, serve.Stderr = log, log
	if lab.NeedsSudo() {
		fmt.Fprintln(os.Stderr, "This system forbids unprivileged user namespaces; using sudo for the one step of creating the rack's.")
		serve.Stdin = os.Stdin // sudo asks for a password on this terminal, so the session must stay the same
	} else {
		serve.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := serve.Start(); err != nil {
		return nil, fmt.Errorf("start the rack: %w", err)
	}
	shown, err := os.Open(logPath)
	if err != nil {
		return nil, fmt.Errorf("start the rack: %w", err)
	}
	defer shown.Close()
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	for {
		status, err := lab.QueryStatus(ctx, dir)
		if _, err := io.Copy(out, shown); err != nil {
			return nil, fmt.Errorf("show %s: %w", logPath, err)
		}
		if err == nil {
			return status, nil
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(logPath)
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			return nil, fmt.Errorf("the rack did not start: %s", strings.Join(lines[max(0, len(lines)-5):], "\n"))
		case <-ctx.Done():
			_ = serve.Process.Signal(syscall.SIGTERM)
			return nil, fmt.Errorf("start the rack: %w; see %s", ctx.Err(), logPath)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// awaitAPI waits until the rack's conductor answers at address.
func awaitAPI(ctx context.Context, dir, address string) (*lab.Status, error) {
	for {
		status, err := lab.QueryStatus(ctx, dir)
		if err != nil {
			return nil, fmt.Errorf("wait for the conductor: %w", err)
		}
		for _, p := range status.Processes {
			if p.Ended != "" {
				return nil, fmt.Errorf("wait for the conductor: %s has ended: %s; see %s", p.Name, p.Ended, p.Log)
			}
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			return nil, fmt.Errorf("wait for the conductor: %w", err)
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			return status, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the conductor at %s: %w", address, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// newLabServeCommand is the process that "up" leaves behind; with it a rack can also be run in the foreground.
func newLabServeCommand(resolve func() (string, error)) *cobra.Command {
	var rack labRack
	cmd := &cobra.Command{
		Use:    "serve",
		Short:  "Run a rack in the foreground",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolve()
			if err != nil {
				return err
			}
			config, err := rack.lab(dir)
			if err != nil {
				return err
			}
			signal.Ignore(syscall.SIGHUP) // the terminal may be closed
			forwards := []lab.Forward{{Listen: rack.api, To: fmt.Sprintf("%s:%d", lab.Address, lab.APIPort)}}
			err = lab.Run(cmd.Context(), lab.Options{Forwards: forwards}, func(ctx context.Context, ns *lab.Namespace) error {
				return lab.Serve(ctx, ns, config, rack.start)
			})
			var exit *lab.ExitError
			if errors.As(err, &exit) {
				os.Exit(exit.Code) // the process inside has said why
			}
			return err
		},
	}
	rack.flags(cmd)
	return cmd
}

func (r *labRack) lab(dir string) (lab.Config, error) {
	config := lab.Config{Dir: dir, Accel: r.accel}
	for _, text := range r.nodes {
		node, err := lab.ParseNode(text)
		if err != nil {
			return config, err
		}
		config.Nodes = append(config.Nodes, node)
	}
	return config, nil
}

// start starts the conductor in the rack.
func (r *labRack) start(ctx context.Context, rack *lab.Rack) error {
	if !r.conductor {
		return nil
	}
	path := r.config
	if path == "" {
		options := lab.ConductorOptions{ImageDir: r.images, FullErase: r.fullErase}
		if r.ramdisk != "" {
			// The conductor looks for relative paths in a directory of its own.
			dir, err := filepath.Abs(r.ramdisk)
			if err != nil {
				return fmt.Errorf("find the ramdisk: %w", err)
			}
			options.DeployKernel = filepath.Join(dir, ramdisk.KernelFile)
			options.DeployRamdisk = filepath.Join(dir, ramdisk.InitramfsFile)
		}
		var err error
		if path, err = rack.WriteConductorConfig(options); err != nil {
			return err
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = rack.StartProcess(ctx, "conductor", exe, "conductor", "--config", path)
	return err
}

func newLabDownCommand(resolve func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Take the rack down; its files stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := resolve()
			if err != nil {
				return err
			}
			return lab.Down(cmd.Context(), dir)
		},
	}
}

func queryRack(ctx context.Context, resolve func() (string, error)) (*lab.Status, error) {
	dir, err := resolve()
	if err != nil {
		return nil, err
	}
	return lab.QueryStatus(ctx, dir)
}

func newLabStatusCommand(resolve func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the rack's machines, their power, boot selectors and consoles",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := queryRack(cmd.Context(), resolve)
			if err != nil {
				return err
			}
			printRack(cmd.OutOrStdout(), status)
			return nil
		},
	}
}

func newLabInventoryCommand(resolve func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "inventory",
		Short: "Print the rack's machines as \"ferric enroll -f -\" takes them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := queryRack(cmd.Context(), resolve)
			if err != nil {
				return err
			}
			nodes := []map[string]any{}
			for _, n := range status.Nodes {
				nodes = append(nodes, map[string]any{
					"name": n.Name, "driver": "ipmi", "ports": []string{n.MAC},
					"driver_info": map[string]any{"ipmi_address": n.BMC, "ipmi_username": n.User, "ipmi_password": lab.DefaultPassword},
					"properties":  map[string]any{"capabilities": "boot_mode:" + string(n.Firmware)},
				})
			}
			return yaml.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"nodes": nodes})
		},
	}
}

func printRack(w io.Writer, s *lab.Status) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"machine", "firmware", "MAC", "BMC", "power", "boot selector", "console", "bytes"})
	for _, n := range s.Nodes {
		power := "off"
		if n.Powered {
			power = "on"
		}
		t.AppendRow(table.Row{n.Name, n.Firmware, n.MAC, n.BMC, power, n.Selector, n.Console, n.Bytes})
	}
	t.Render()
	for _, p := range s.Processes {
		if p.Ended != "" {
			fmt.Fprintf(w, "%s has ended: %s; see %s\n", p.Name, p.Ended, p.Log)
		} else {
			fmt.Fprintf(w, "%s is running, log in %s\n", p.Name, p.Log)
		}
	}
	for _, api := range s.API {
		fmt.Fprintf(w, "API: http://%s\n", api)
	}
	enter := fmt.Sprintf("nsenter --preserve-credentials -U -n -t %d", s.PID)
	if s.ThroughSudo {
		enter = "sudo " + enter
	}
	for _, n := range s.Nodes[:min(1, len(s.Nodes))] {
		fmt.Fprintf(w, "BMCs are inside the rack's network: %s ipmitool -I lanplus -C 3 -H %s -U %s -a power status\n", enter, n.BMC, n.User)
		fmt.Fprintf(w, "Machines by default have the BMC password %q.\n", lab.DefaultPassword)
	}
}

func newLabConsoleCommand(resolve func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "console NODE",
		Short: "Attach to a machine's serial console; Ctrl-] leaves",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := resolve()
			if err != nil {
				return err
			}
			var in io.Reader // without a terminal there are no keys to pass on
			if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
				state, err := term.MakeRaw(fd)
				if err != nil {
					return fmt.Errorf("prepare the terminal: %w", err)
				}
				defer func() { _ = term.Restore(fd, state) }()
				in = untilKey{os.Stdin}
			}
			return lab.Attach(cmd.Context(), dir, args[0], in, cmd.OutOrStdout())
		},
	}
}

// untilKey ends at the key that detaches.
type untilKey struct{ io.Reader }

func (u untilKey) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if i := slices.Index(p[:n], detachKey); i >= 0 {
		return i, io.EOF
	}
	return n, err
}
