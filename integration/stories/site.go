// Package stories are whole deployments on the virtual rack, told through the
// public API: what `ferric lab demo` shows and what the VM tests check.
package stories

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ferric/api/client"
	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/ramdisk"
)

// apiPatience is how long a conductor may take to answer after its start.
const apiPatience = 30 * time.Second

// Options of a site.
type Options struct {
	Ferric     string // path of the ferric program
	RamdiskDir string // what `ferric ramdisk build` made
	Image      *osimage.Image
	FullErase  bool   // automated cleaning erases whole disks
	Config     string // further lines of the conductor's configuration
}

// Site is a rack with a conductor and a client of its API.
type Site struct {
	*lab.Rack
	API *client.Client

	options   Options
	config    string
	conductor *lab.Process
}

// Open starts a conductor in the rack and waits until its API answers.
func Open(ctx context.Context, rack *lab.Rack, o Options) (*Site, error) {
	manifest, err := ramdisk.ReadManifest(o.RamdiskDir)
	if err != nil {
		return nil, err
	}
	s := &Site{Rack: rack, options: o}
	// The images are all in one directory of the cache.
	s.config, err = rack.WriteConductorConfig(lab.ConductorOptions{
		DeployKernel: filepath.Join(o.RamdiskDir, manifest.Kernel.Path), DeployRamdisk: filepath.Join(o.RamdiskDir, manifest.Initramfs.Path),
		ImageDir: filepath.Dir(o.Image.Raw.Path), FullErase: o.FullErase,
	})
	if err != nil {
		return nil, err
	}
	if o.Config != "" {
		file, err := os.OpenFile(s.config, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		_, err = file.WriteString(o.Config)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	if s.API, err = client.New(fmt.Sprintf("http://%s:%d", lab.Address, lab.APIPort), nil); err != nil {
		return nil, err
	}
	return s, s.StartConductor(ctx)
}

// StartConductor starts the conductor, also once more after Kill.
func (s *Site) StartConductor(ctx context.Context) error {
	var err error
	// The conductor ends with the rack, not with the context of this call.
	if s.conductor, err = s.StartProcess(context.WithoutCancel(ctx), "conductor", s.options.Ferric, "conductor", "--config", s.config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	for {
		_, err := s.API.Version(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.conductor.Done():
			return fmt.Errorf("the conductor ended at once, see %s", s.conductor.LogPath)
		case <-ctx.Done():
			return fmt.Errorf("the conductor's API does not answer, see %s: %w", s.conductor.LogPath, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// KillConductor ends the conductor with SIGKILL.
func (s *Site) KillConductor() { s.conductor.Kill() }

// ImageURL is where the machines fetch a file of the image.
func (s *Site) ImageURL(f osimage.File) string {
	return fmt.Sprintf("http://%s:8080/%s", lab.Address, filepath.Base(f.Path))
}
