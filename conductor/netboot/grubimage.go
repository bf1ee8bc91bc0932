package netboot

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// grubImages makes GRUB's images for boot by HTTP where the distribution's signed
// one lacks HTTP, as Debian's does: GRUB is started by HTTP then and finds no
// way back to its server. What is made is not signed, so not for Secure Boot.
type grubImages struct {
	place func() (string, error) // names a new file

	mu   sync.Mutex
	made map[string]string // by the name of the boot loader
}

// grubPlatforms are GRUB's names of the platforms that boot loaders are for.
var grubPlatforms = map[string]string{
	"bootx64.efi": "x86_64-efi", "grubx64.efi": "x86_64-efi",
	"bootaa64.efi": "arm64-efi", "grubaa64.efi": "arm64-efi",
}

// grubModules is what the configurations of bootconfig.go need, on any platform.
var grubModules = strings.Fields("normal configfile linux chain boot echo sleep halt reboot test search search_fs_file " +
	"net efinet http tftp part_gpt part_msdos fat ext2 xfs btrfs iso9660 all_video minicmd serial")

// grubStart is what an image does first. $cmdpath is the directory that GRUB was fetched from.
const grubStart = "configfile $cmdpath/grub/grub.cfg\n"

const grubMakeTime = time.Minute

// open makes an image unless it is there.
func (g *grubImages) open(ctx context.Context, name string) (file, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if path := g.made[name]; path != "" && regular(path) {
		return openRegular(os.Stat, os.Open, path)
	}
	path, err := g.place()
	if err != nil {
		return nil, err
	}
	if err := makeGRUB(ctx, grubPlatforms[name], path); err != nil {
		return nil, err
	}
	if g.made == nil {
		g.made = map[string]string{}
	}
	g.made[name] = path
	return openRegular(os.Stat, os.Open, path)
}

// grubMaker finds GRUB's program for images and its modules.
func grubMaker(platform string) (program string, err error) {
	for _, name := range []string{"grub-mkimage", "grub2-mkimage"} {
		if program, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if err != nil || !regular(filepath.Join("/usr/lib/grub", platform, "http.mod")) {
		deb := map[string]string{"x86_64-efi": "grub-efi-amd64-bin", "arm64-efi": "grub-efi-arm64-bin"}[platform]
		return "", fmt.Errorf("%w: the signed GRUB has no HTTP, and there is nothing to make another of: install the packages grub-common and %s, or name a GRUB that has HTTP in [pxe]loader_file_paths",
			ErrLoaderMissing, deb)
	}
	return program, nil
}

func makeGRUB(ctx context.Context, platform, path string) error {
	program, err := grubMaker(platform)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grubMakeTime)
	defer cancel()
	start := path + ".cfg"
	if err := os.WriteFile(start, []byte(grubStart), 0o600); err != nil {
		return fmt.Errorf("make a GRUB for HTTP: %w", err)
	}
	defer os.Remove(start)
	args := slices.Concat([]string{"-O", platform, "-o", path, "-p", "/grub", "-c", start}, grubModules)
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		os.Remove(path)
		return fmt.Errorf("make a GRUB for HTTP: %s: %w: %.200s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// grubHasHTTP tells whether a GRUB image speaks HTTP.
func grubHasHTTP(path string) bool {
	image, err := os.ReadFile(path)
	return err == nil && bytes.Contains(image, []byte(" HTTP/1.1\r\n"))
}

// needsHTTPGRUB tells whether a GRUB is to be made for a request by HTTP: there
// is no file of the operator's, and the distribution's has no HTTP.
func (s *settings) needsHTTPGRUB(name string) bool {
	if grubPlatforms[name] == "" || s.LoaderFilePaths[name] != "" || s.TFTPRoot != "" && regular(filepath.Join(s.TFTPRoot, name)) {
		return false
	}
	signed, err := s.loaderFile(strings.Replace(name, "boot", "grub", 1))
	return err != nil || !grubHasHTTP(signed)
}
