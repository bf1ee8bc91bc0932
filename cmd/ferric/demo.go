package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

// operating systems that the demo deploys.
const (
	osSmall  = "small"
	osDebian = "debian"
)

// labImage holds the flags that choose an image.
type labImage struct{ os, cache string }

func (i *labImage) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&i.os, "os", osSmall, "operating system to deploy: small or debian")
	cmd.Flags().StringVar(&i.cache, "cache", "", "`directory` that keeps finished images (default: ferric/images in the user's cache)")
}

// build makes the image or finds it in the cache.
func (i *labImage) build(ctx context.Context) (*osimage.Image, error) {
	dir := i.cache
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(base, "ferric", "images")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	switch i.os {
	case osSmall:
		return osimage.Build(ctx, osimage.Options{CacheDir: dir})
	case osDebian:
		return osimage.BuildDebian(ctx, dir)
	}
	return nil, fmt.Errorf("unknown operating system %q; there are %s and %s", i.os, osSmall, osDebian)
}

func newLabImageCommand() *cobra.Command {
	var image labImage
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build the disk image that the demo deploys",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			built, err := image.build(cmd.Context())
			if err != nil {
				return err
			}
			for _, f := range []osimage.File{built.Raw, built.QCOW2, built.Zstd} {
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %d bytes  sha256 %s\n", f.Path, f.Size, f.SHA256)
			}
			return nil
		},
	}
	image.flags(cmd)
	return cmd
}

// newLabDemoCommand is "ferric lab demo": two machines from bare to deployed.
func newLabDemoCommand(resolve func() (string, error)) *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Deploy two bare virtual machines, one with BIOS and one with UEFI",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if d.clean != "metadata" && d.clean != "full" {
				return fmt.Errorf("unknown cleaning %q; there are metadata and full", d.clean)
			}
			if d.dir, err = resolve(); err != nil {
				return err
			}
			if d.ramdisk, err = filepath.Abs(d.ramdisk); err != nil {
				return err
			}
			if !lab.Inside() {
				if _, err := lab.QueryStatus(cmd.Context(), d.dir); err == nil {
					return fmt.Errorf("a rack is already running in %s; \"ferric lab down\" ends it", d.dir)
				}
			}
			if d.keep && !d.stay {
				return d.leave(cmd)
			}
			var options lab.Options
			if d.stay {
				signal.Ignore(syscall.SIGHUP) // the terminal may be closed
				options.Forwards = []lab.Forward{{Listen: d.api, To: fmt.Sprintf("%s:%d", lab.Address, lab.APIPort)}}
			}
			err = lab.Run(cmd.Context(), options, func(ctx context.Context, ns *lab.Namespace) error { return d.run(ctx, ns, cmd.OutOrStdout()) })
			var exit *lab.ExitError
			if errors.As(err, &exit) {
				os.Exit(exit.Code) // the process inside has said why
			}
			return err
		},
	}
	d.image.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&d.ramdisk, "ramdisk", "", "`directory` that \"ferric ramdisk build\" filled")
	f.StringVar(&d.clean, "clean", "metadata", "automated cleaning: metadata or full")
	f.BoolVar(&d.keep, "keep", false, "leave the rack up when all is done, until \"ferric lab down\"")
	f.StringVar(&d.api, "api", fmt.Sprintf("127.0.0.1:%d", lab.APIPort), "`address` on this host that leads to the API of a rack that is kept")
	f.BoolVar(&d.stay, "stay", false, "be the process that keeps the rack")
	if err := f.MarkHidden("stay"); err != nil { // only for a flag that does not exist
		panic(err)
	}
	return cmd
}

// demo holds the flags of the demo.
type demo struct {
	image                    labImage
	dir, ramdisk, clean, api string
	keep, stay               bool
}

// leave runs the demo in a process that stays behind and keeps the rack, and
// shows what it prints until the rack is there.
func (d *demo) leave(cmd *cobra.Command) error {
	args := append(slices.Clone(os.Args[1:]), "--stay")
	status, err := startRack(cmd.Context(), d.dir, args, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), `
The rack stays up until "%[1]s lab down". Any client on this host reaches its API:
  export OS_AUTH_TYPE=none OS_ENDPOINT=http://%[2]s
  baremetal node list            (or curl $OS_ENDPOINT/v1/nodes)
  %[1]s lab status
  %[1]s lab console %[3]s
`, os.Args[0], status.API[0], status.Nodes[0].Name)
	printRack(cmd.OutOrStdout(), status)
	return nil
}

// The deployed Debian needs 1 GiB, the small system less than the ramdisk does.
const debianMemory = 1024

// run is the demo, inside the rack's namespaces.
func (d *demo) run(ctx context.Context, ns *lab.Namespace, out io.Writer) error {
	image, err := d.image.build(ctx) // the cache has it
	if err != nil {
		return err
	}
	bios := lab.NodeConfig{Name: "rack-bios", Firmware: lab.BIOS, Disks: []lab.Disk{{Kind: lab.Virtio}}}
	uefi := lab.NodeConfig{Name: "rack-uefi", Firmware: lab.UEFI, Disks: []lab.Disk{{Kind: lab.NVMe}}}
	if d.image.os == osDebian {
		bios.MemoryMiB, uefi.MemoryMiB = debianMemory, debianMemory
	}
	if err := lab.Forget(d.dir); err != nil { // bare machines, unknown to the conductor
		return err
	}
	config := lab.Config{Dir: d.dir, Nodes: []lab.NodeConfig{bios, uefi}}
	story := func(ctx context.Context, rack *lab.Rack) error { return d.story(ctx, rack, image, out) }
	if d.stay {
		return lab.Serve(ctx, ns, config, story)
	}
	rack, err := lab.Up(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(story(ctx, rack), rack.Close())
}

func (d *demo) story(ctx context.Context, rack *lab.Rack, image *osimage.Image, out io.Writer) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Rack of %d machines in %s, accelerator %s.\n", len(rack.Nodes), rack.Dir, rack.Accel)
	site, err := stories.Open(ctx, rack, stories.Options{Ferric: exe, RamdiskDir: d.ramdisk, Image: image, FullErase: d.clean == "full"})
	if err != nil {
		return err
	}
	// One image, in both of the forms that ferric is meant for.
	one, err := site.Machine("rack-bios", image.QCOW2, "qcow2")
	if err != nil {
		return err
	}
	other, err := site.Machine("rack-uefi", image.Zstd, "raw")
	if err != nil {
		return err
	}
	if err := stories.FirstBoot(ctx, []*stories.Machine{one, other}, d.image.os == osDebian, out); err != nil {
		return fmt.Errorf("%w\nlogs and consoles are in %s", err, rack.Dir)
	}
	return nil
}
