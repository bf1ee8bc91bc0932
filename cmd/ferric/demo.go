package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	var image labImage
	var ramdiskDir, clean, api string
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Deploy two bare virtual machines, one with BIOS and one with UEFI",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if clean != "metadata" && clean != "full" {
				return fmt.Errorf("unknown cleaning %q; there are metadata and full", clean)
			}
			dir, err := resolve()
			if err != nil {
				return err
			}
			ramdiskDir, err := filepath.Abs(ramdiskDir)
			if err != nil {
				return err
			}
			var options lab.Options
			if keep {
				options.Forwards = []lab.Forward{{Listen: api, To: fmt.Sprintf("%s:%d", lab.Address, lab.APIPort)}}
			}
			return lab.Run(cmd.Context(), options, func(ctx context.Context, ns *lab.Namespace) error {
				built, err := image.build(ctx) // the cache has it
				if err != nil {
					return err
				}
				return runDemo(ctx, cmd, demo{dir: dir, ramdisk: ramdiskDir, image: built, debian: image.os == osDebian, full: clean == "full", keep: keep, ns: ns})
			})
		},
	}
	image.flags(cmd)
	cmd.Flags().StringVar(&ramdiskDir, "ramdisk", "", "`directory` that \"ferric ramdisk build\" filled")
	cmd.Flags().StringVar(&clean, "clean", "metadata", "automated cleaning: metadata or full")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the rack up when all is done, until interrupted")
	cmd.Flags().StringVar(&api, "api", fmt.Sprintf("127.0.0.1:%d", lab.APIPort), "`address` on this host that leads to the API of a rack that is kept")
	return cmd
}

// demo is what runDemo is told.
type demo struct {
	dir, ramdisk       string
	image              *osimage.Image
	debian, full, keep bool
	ns                 *lab.Namespace
}

// The deployed Debian needs 1 GiB, the small system less than the ramdisk does.
const debianMemory = 1024

func runDemo(ctx context.Context, cmd *cobra.Command, d demo) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	bios := lab.NodeConfig{Name: "rack-bios", Firmware: lab.BIOS, Disks: []lab.Disk{{Kind: lab.Virtio}}}
	uefi := lab.NodeConfig{Name: "rack-uefi", Firmware: lab.UEFI, Disks: []lab.Disk{{Kind: lab.NVMe}}}
	if d.debian {
		bios.MemoryMiB, uefi.MemoryMiB = debianMemory, debianMemory
	}
	rack, err := lab.Up(ctx, lab.Config{Dir: d.dir, Nodes: []lab.NodeConfig{bios, uefi}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rack.Close()) }()
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "Rack of %d machines in %s, accelerator %s.\n", len(rack.Nodes), rack.Dir, rack.Accel)
	site, err := stories.Open(ctx, rack, stories.Options{Ferric: exe, RamdiskDir: d.ramdisk, Image: d.image, FullErase: d.full})
	if err != nil {
		return err
	}
	one, err := site.Machine("rack-bios", d.image.QCOW2, "qcow2")
	if err != nil {
		return err
	}
	other, err := site.Machine("rack-uefi", d.image.Zstd, "raw")
	if err != nil {
		return err
	}
	if err := stories.FirstBoot(ctx, []*stories.Machine{one, other}, d.debian, out); err != nil {
		return fmt.Errorf("%w\nlogs and consoles are in %s", err, rack.Dir)
	}
	if d.keep {
		fmt.Fprintf(out, `
The rack stays up until this is interrupted (Ctrl-C). From another shell:
  export OS_AUTH_TYPE=none OS_ENDPOINT=http://%s
  baremetal node list            (or curl $OS_ENDPOINT/v1/nodes)
`, d.ns.Listening[0])
		<-ctx.Done()
	}
	return nil
}
