// Package osimage builds the operating systems that stories and the demo
// deploy, from packages of the distribution: a small one of a kernel and one
// program, and a full Debian with cloud-init. Both boot from one image under
// BIOS and UEFI, and tell on the serial console what they booted from.
package osimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// Options say what to build. Only CacheDir has to be set.
type Options struct {
	// CacheDir keeps finished images by the hash of what they are made of.
	CacheDir string
	// Kernel and Modules are a kernel and the directory of its modules; both
	// empty is the newest full one that the distribution installed. A cloud
	// kernel starts faster, but does not boot from SATA disks.
	Kernel, Modules string
	// SourceDir is a directory inside ferric's source, where the init is
	// built; empty is the working directory.
	SourceDir string
	// Ballast adds a file of so many bytes that do not compress, for stories
	// that need a large image.
	Ballast int64
	// Sector is the size in bytes of the logical blocks of the disks that a
	// whole-disk image is for: 512, which is also 0, or 4096, which UEFI boots
	// only.
	Sector int
	// Show are programs of this machine with their arguments, one by one, that
	// the system runs once it is up; what they print is on the console between
	// "begin" and "end" lines with the command.
	Show []string
	// Array makes a whole-disk image that also boots from an array: its system
	// assembles the arrays that are there. Under BIOS it takes Installer, too.
	Array bool
	// Installer adds GRUB's installer for BIOS machines, the generator of its
	// menu and a shell, as a distribution's image has them: what a deployment may
	// run where it is allowed to (agent contract, section "install_bootloader").
	// Partition images are for it, and whole-disk images for arrays.
	Installer bool
}

// room is what the root file system needs for the wishes of o.
func (o Options) room() int64 {
	room := o.Ballast + o.Ballast/32
	if len(o.Show) > 0 {
		room += showBytes
	}
	if o.Installer {
		room += installerBytes
	}
	return room
}

// Image is one disk image in the formats that conductors serve.
type Image struct {
	Raw   File `json:"raw"`
	QCOW2 File `json:"qcow2"` // compressed clusters (zlib)
	Zstd  File `json:"zstd"`  // of the raw image
}

// File is one file of an image.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Build makes the small system, about 50 MiB, in a second or two, or finds it
// in the cache. Several processes may build into one cache at once.
func Build(ctx context.Context, o Options) (*Image, error) {
	kernel, err := findKernel(o.Kernel, o.Modules)
	if err != nil {
		return nil, fmt.Errorf("os image: %w", err)
	}
	image, err := build(ctx, o, kernel)
	if err != nil {
		return nil, fmt.Errorf("os image with kernel %s: %w", kernel.path, err)
	}
	return image, nil
}

func build(ctx context.Context, o Options, kernel kernel) (*Image, error) {
	work, err := workDir(o.CacheDir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)

	initrd := filepath.Join(work, "initrd.img")
	if err := writeInitrd(ctx, initrd, o, kernel); err != nil {
		return nil, err
	}
	loaders, err := makeLoaders(ctx, work, o.Array)
	if err != nil {
		return nil, err
	}
	inputs := []string{kernel.path, initrd, loaders.biosBoot, loaders.biosCore, loaders.efi}
	var grub *installer
	if o.Installer {
		if grub, err = findInstaller(ctx, o.Array); err != nil {
			return nil, err
		}
		inputs = append(inputs, grub.files...)
	}
	key, err := hashInputs(o.Ballast, inputs...)
	if err != nil {
		return nil, err
	}
	name := "small-" + key
	if o.Sector == sector4Kn {
		name = "small4Kn-" + key
	}
	return cached(o.CacheDir, name, func(dir string) (*Image, error) {
		root := filepath.Join(work, "root")
		if err := layRoot(root, kernel.path, initrd, o.Ballast, map[string]string{grubConfigPath: grubConfig}); err != nil {
			return nil, err
		}
		if grub != nil {
			if err := grub.layOut(root); err != nil {
				return nil, err
			}
		}
		raw := filepath.Join(dir, "disk.raw")
		d := diskLayout{rootBytes: smallRootBytes + o.room(), sector: int64(o.Sector)}
		if err := d.create(raw, loaders); err != nil {
			return nil, err
		}
		if err := d.makeESP(ctx, raw, work, loaders); err != nil {
			return nil, err
		}
		if err := d.makeRoot(ctx, raw, root); err != nil {
			return nil, err
		}
		return convert(ctx, raw)
	})
}

// workDir makes a directory for the pieces, beside the cache entries so that
// finished ones are moved and not copied.
func workDir(cache string) (string, error) {
	if cache == "" {
		return "", errors.New("no cache directory given")
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(cache, "build-*")
}

// hashInputs identifies an image: recipe changes whenever this package lays
// the same pieces out in another way.
func hashInputs(ballast int64, paths ...string) (string, error) {
	const recipe = "1"
	h := sha256.New()
	fmt.Fprintf(h, "recipe %s ballast %d config %s %s\n", recipe, ballast, grubConfig, installerDefaults)
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		n, err := io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "\n%d\n", n)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// cached returns the image of that name, made by create in a fresh directory
// if the cache has none.
func cached(cache, name string, create func(dir string) (*Image, error)) (*Image, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	final := filepath.Join(cache, name)
	if image, err := readManifest(final); err == nil {
		return image, nil
	}
	dir, err := os.MkdirTemp(cache, "new-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	image, err := create(dir)
	if err != nil {
		return nil, err
	}
	if err := writeManifest(dir, image); err != nil {
		return nil, err
	}
	err = os.Rename(dir, final)
	if finished, readErr := readManifest(final); readErr == nil {
		return finished, nil // ours, or that of a process which was faster
	}
	return nil, fmt.Errorf("keep image %s: %w", name, err)
}

const manifestName = "image.json"

// writeManifest keeps file names only, so that a cache may be moved.
func writeManifest(dir string, image *Image) error {
	names := *image
	for _, f := range []*File{&names.Raw, &names.QCOW2, &names.Zstd} {
		f.Path = filepath.Base(f.Path)
	}
	data, err := json.MarshalIndent(names, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, manifestName), data, 0o644)
}

func readManifest(dir string) (*Image, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	var image Image
	if err := json.Unmarshal(data, &image); err != nil {
		return nil, err
	}
	for _, f := range []*File{&image.Raw, &image.QCOW2, &image.Zstd} {
		f.Path = filepath.Join(dir, f.Path)
		if info, err := os.Stat(f.Path); err != nil || info.Size() != f.Size {
			return nil, fmt.Errorf("%s is not what the manifest says", f.Path)
		}
	}
	return &image, nil
}

// convert makes the other formats beside a raw image.
func convert(ctx context.Context, raw string) (*Image, error) {
	base := filepath.Dir(raw)
	qcow2, compressed := filepath.Join(base, "disk.qcow2"), filepath.Join(base, "disk.raw.zst")
	if _, err := run(ctx, nil, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, qcow2); err != nil {
		return nil, err
	}
	if err := compress(raw, compressed); err != nil {
		return nil, err
	}
	var image Image
	for path, file := range map[string]*File{raw: &image.Raw, qcow2: &image.QCOW2, compressed: &image.Zstd} {
		if err := describe(path, file); err != nil {
			return nil, err
		}
	}
	return &image, nil
}

func compress(source, target string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	defer out.Close()
	w, err := zstd.NewWriter(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}

func describe(path string, file *File) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	*file = File{Path: path, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}
	return nil
}
