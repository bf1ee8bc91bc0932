package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ferric/api/plugin"
)

// newPluginKeygenCommand is "ferric plugin keygen".
func newPluginKeygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make a pair of keys: NAME.key signs bundles, ramdisks trust NAME.pub",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			private, public, id, err := plugin.GenerateKey()
			if err != nil {
				return err
			}
			const secret, open = 0o600, 0o644
			if err := writeNew(args[0]+".key", private, secret); err != nil {
				return err
			}
			if err := writeNew(args[0]+".pub", public, open); err != nil {
				return errors.Join(err, os.Remove(args[0]+".key"))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "key %s: %s.key signs, keep it secret; ramdisks built with --plugin-key %s.pub take what it has signed\n", id, args[0], args[0])
			return nil
		},
	}
}

// writeNew writes a file that is not there.
func writeNew(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// newPluginSignCommand is "ferric plugin sign".
func newPluginSignCommand() *cobra.Command {
	var keyFile, output string
	cmd := &cobra.Command{
		Use:   "sign DIR --key FILE",
		Short: "Make a signed bundle of a plugin's directory",
		Long: "Make a signed bundle of a plugin's directory, which has a plugin.json. The same directory and key give the same bytes.\n" +
			"Hidden files and __pycache__ directories are left out.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := plugin.ReadManifest(args[0])
			if err != nil {
				return err
			}
			key, err := plugin.LoadPrivateKey(keyFile)
			if err != nil {
				return err
			}
			if info, err := os.Stat(keyFile); err == nil && info.Mode().IsRegular() && info.Mode()&0o077 != 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s can be read by others (mode %#o)\n", keyFile, info.Mode().Perm())
			}
			if output == "" {
				output = m.Name + "-" + m.Version + ".bundle"
			}
			if err := insideOf(args[0], output); err != nil {
				return err
			}
			err = replaceWith(output, func(w io.Writer) error {
				m, err = plugin.Sign(w, args[0], *m, key)
				return err
			})
			if err != nil {
				return err
			}
			for _, left := range leftOut(args[0]) {
				fmt.Fprintf(cmd.ErrOrStderr(), "left out: %s\n", left)
			}
			return describeBundle(cmd.OutOrStdout(), output, func(r io.Reader) (*plugin.Bundle, error) {
				return plugin.Inspect(r, plugin.Options{})
			}, "signed with")
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "file with the private key (PEM)")
	cmd.Flags().StringVar(&output, "output", "", "file to write (default: NAME-VERSION.bundle)")
	cobra.CheckErr(cmd.MarkFlagRequired("key"))
	return cmd
}

// insideOf is an error if the output would lie in the directory, and be part of
// the next bundle.
func insideOf(dir, output string) error {
	from, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	to, err := filepath.Abs(output)
	if err != nil {
		return err
	}
	if strings.HasPrefix(to, from+string(filepath.Separator)) {
		return fmt.Errorf("the bundle would be written into %s, and be part of the next one: name another place with --output", dir)
	}
	return nil
}

// replaceWith writes a file as a whole, or leaves it as it was.
func replaceWith(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when it has got its name
	w := bufio.NewWriter(f)
	if err := errors.Join(write(w), w.Flush(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// leftOut are the files and directories that a bundle of dir has not.
func leftOut(dir string) []string {
	var list []string
	_ = filepath.WalkDir(dir, func(p string, entry fs.DirEntry, err error) error { // it was read a moment ago
		switch {
		case err != nil || p == dir || !plugin.LeftOut(p):
			return nil
		case entry.IsDir():
			list = append(list, p+"/")
			return fs.SkipDir
		}
		list = append(list, p)
		return nil
	})
	return list
}

// newPluginVerifyCommand is "ferric plugin verify".
func newPluginVerifyCommand() *cobra.Command {
	var keyFiles []string
	var list bool
	cmd := &cobra.Command{
		Use:   "verify BUNDLE --key FILE",
		Short: "Verify a bundle as an agent does that trusts the keys",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			trusted := plugin.Keys{}
			for _, file := range keyFiles {
				load := plugin.LoadPublicKeys
				if info, err := os.Stat(file); err == nil && info.IsDir() {
					load = plugin.LoadKeys
				}
				keys, err := load(file)
				if err != nil {
					return err
				}
				for id, key := range keys {
					trusted[id] = key
				}
			}
			return describeBundle(cmd.OutOrStdout(), args[0], func(r io.Reader) (*plugin.Bundle, error) {
				b, err := plugin.Read(r, trusted, plugin.Options{})
				if err == nil && list {
					for _, f := range b.Files {
						fmt.Fprintf(cmd.OutOrStdout(), "%04o %10d %s  %s\n", f.Mode, f.Size, f.SHA256, f.Path)
					}
				}
				return b, err
			}, "verified with")
		},
	}
	cmd.Flags().StringArrayVar(&keyFiles, "key", nil, "file with a public key (PEM), or directory of such files (*.pub); may be repeated")
	cmd.Flags().BoolVar(&list, "files", false, "list the files")
	cobra.CheckErr(cmd.MarkFlagRequired("key"))
	return cmd
}

// describeBundle prints a line about the bundle in file.
func describeBundle(out io.Writer, file string, read func(io.Reader) (*plugin.Bundle, error), how string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := read(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Fprintf(out, "%s: %s %s, %d files, %d bytes, sha256 %s, %s key %s\n", file, b.Name, b.Version, len(b.Files), b.Size, b.SHA256, how, b.Key)
	return nil
}
