package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferric/ramdisk"
)

// newRamdiskCommand is "ferric ramdisk".
func newRamdiskCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ramdisk",
		Short: "Build the ramdisk that servers boot to be deployed",
	}
	cmd.AddCommand(newRamdiskBuildCommand())
	return cmd
}

func newRamdiskBuildCommand() *cobra.Command {
	var profile, compression string
	var addFiles, tools []string
	var o ramdisk.Options
	cmd := &cobra.Command{
		Use:   "build --output DIR",
		Short: "Build kernel, initramfs and manifest from this machine's kernel and ferric's source",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Profile, err = ramdisk.ParseProfile(profile); err != nil {
				return err
			}
			if o.Files, err = parseAddFiles(addFiles); err != nil {
				return err
			}
			for _, text := range tools {
				tool, err := ramdisk.ParseTool(text)
				if err != nil {
					return err
				}
				o.Tools = append(o.Tools, tool)
			}
			o.Compression = ramdisk.Compression(compression)
			began := time.Now()
			o.Progress = func(what string) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%6.1f s  %s\n", time.Since(began).Seconds(), what)
			}
			m, err := ramdisk.Build(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: kernel %s (%.1f MiB), initramfs %.1f MiB, %d modules, in %.1f s\n",
				o.Output, m.Versions["kernel"], mebibytes(m.Kernel.Size), mebibytes(m.Initramfs.Size),
				len(m.Modules), time.Since(began).Seconds())
			printManagers(cmd.OutOrStdout(), m)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&profile, "profile", string(ramdisk.Virtual), "kernel modules to put in: virtual or server")
	f.StringVar(&o.Output, "output", "", "directory to write to")
	f.StringVar(&o.KernelRelease, "kernel", "", "release of the kernel, as in /lib/modules (default: the newest that is not a cloud kernel)")
	f.StringVar(&compression, "compression", string(ramdisk.Zstd), "compression of the initramfs: zstd or gzip")
	f.StringArrayVar(&addFiles, "add-file", nil, "file or directory to add, as SOURCE:TARGET; may be repeated")
	f.StringArrayVar(&o.Managers, "with", nil, "hardware manager to build in: a `package`'s directory (./acme) or import path (example.org/acme@v1.2.0); may be repeated")
	f.StringArrayVar(&o.Plugins, "plugin", nil, "executable hardware manager to add: a `file`, or a directory with a plugin.json; may be repeated")
	f.StringArrayVar(&o.PluginKeys, "plugin-key", nil, "`file` with the public key of plugins that the agent may fetch; may be repeated")
	f.StringToStringVar(&o.PluginMinimums, "plugin-minimum", nil, "oldest `NAME=VERSION` of a plugin that the agent may fetch; may be repeated")
	f.StringArrayVar(&tools, "tool", nil, "`program` of this machine to add with its shared libraries, as SOURCE or SOURCE:/TARGET; may be repeated")
	f.StringArrayVar(&o.Modules, "add-module", nil, "further kernel module to add; may be repeated")
	f.StringArrayVar(&o.CACertificates, "ca", nil, "file of certificates to trust besides the distribution's; may be repeated")
	f.StringVar(&o.Source, "source", "", "`directory` of ferric's source (default: $"+ramdisk.SourceVariable+", else that of the current directory or of this program)")
	cobra.CheckErr(cmd.MarkFlagRequired("output"))
	return cmd
}

// printManagers names what was added to the built-in managers.
func printManagers(out io.Writer, m *ramdisk.Manifest) {
	for _, manager := range m.Managers {
		if manager.Package != "" {
			fmt.Fprintf(out, "hardware manager %s %s from %s %s\n", manager.Name, manager.Version, manager.Package, manager.ModuleVersion)
		}
	}
	for _, plugin := range m.Plugins {
		fmt.Fprintf(out, "plugin %s %s\n", plugin.Name, plugin.Version)
	}
}

func parseAddFiles(args []string) ([]ramdisk.File, error) {
	var files []ramdisk.File
	for _, a := range args {
		source, target, ok := strings.Cut(a, ":")
		if !ok || source == "" || target == "" {
			return nil, fmt.Errorf("--add-file %q is not of the form SOURCE:TARGET", a)
		}
		files = append(files, ramdisk.File{Source: source, Target: target})
	}
	return files, nil
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
