package generic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/partition"
	"ferric/images/source"
	"ferric/images/volume"
)

func injectFilesStep(s hwmanager.Settings) ipa.Step {
	return ipa.Step{
		Step: "inject_files", Interface: "deploy", Priority: s.InjectFilesPriority,
		ArgsInfo: map[string]ipa.Arg{
			"files":     {Description: "List of files to write or delete, after those of the node's property inject_files: objects with path, partition, deleted, content, mode, dirmode, owner, group."},
			"verify_ca": {Description: "Whether certificates of the servers behind content URLs are verified, as the agent is configured to. True by default."},
		},
	}
}

// injector writes files to the file systems of one machine.
type injector struct {
	m      *Manager
	h      *hwmanager.Host
	node   hwmanager.Node
	device ipa.BlockDevice // the root device
	places []place         // on it
	client *http.Client
	retry  source.Retry
	most   int64 // bytes of the content behind a URL
}

// injectFiles writes and deletes files of the system on the root device (agent
// contract, section "inject_files").
func (m *Manager) injectFiles(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args, "files", "verify_ca"); err != nil {
		return nil, err
	}
	files, verify, err := injections(call)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, nil
	}
	device, err := m.rootDevice(ctx, h, call.Node)
	if err != nil {
		return nil, err
	}
	in, err := m.newInjector(ctx, h, device, call.Node, verify)
	if err != nil {
		return nil, err
	}
	return in.all(ctx, files)
}

// newInjector prepares to write to the file systems of the device.
func (m *Manager) newInjector(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, node hwmanager.Node, verify bool) (*injector, error) {
	settings := h.Settings
	if !verify { // nor does the agent show who it is to who knows whom
		settings.Insecure, settings.CAFile, settings.CertFile, settings.KeyFile = true, "", "", ""
	}
	client, err := settings.HTTPClient()
	if err != nil {
		return nil, ipa.CommandExecution.New("inject files: %v", err)
	}
	target, err := h.Fence(device)
	if err != nil {
		return nil, err
	}
	if err := partition.Reread(ctx, target.Path()); err != nil {
		return nil, ipa.CommandExecution.New("inject files: %v", err)
	}
	places, err := placesOn(ctx, h, target, device.Name)
	if err != nil {
		return nil, ipa.DeviceNotFound.New("inject files: %v", err)
	}
	retries := settings.ConnectRetries
	if retries == 0 {
		retries = -1 // zero would mean the default
	}
	return &injector{
		m: m, h: h, node: node, device: device, places: places, client: client, most: maxInjected,
		retry: source.Retry{Retries: retries, Interval: settings.ConnectRetryInterval, Idle: settings.ConnectTimeout},
	}, nil
}

// all does one file after the other. It stops at the first that fails; those
// before it are there then.
func (in *injector) all(ctx context.Context, files []injection) (any, error) {
	var done []string
	for _, f := range files {
		what, err := in.one(ctx, f)
		if err != nil {
			kind := ipa.CommandExecution
			for _, known := range []ipa.Kind{ipa.DeviceNotFound, ipa.ProtectedDevice} {
				if known.Is(err) {
					kind = known
				}
			}
			return nil, kind.New("file %s: %v", f.path, err)
		}
		in.h.Log.WithField("path", f.path).Info("inject_files: " + what)
		done = append(done, what)
	}
	return map[string]string{"result": strings.Join(done, "; ")}, nil
}

// one does one file and says what was done.
func (in *injector) one(ctx context.Context, f injection) (what string, err error) {
	p, err := in.named(ctx, f)
	if err != nil {
		return "", err
	}
	subvolume := ""
	if p == nil {
		if p, subvolume, err = in.find(ctx, f.path); err != nil {
			return "", err
		}
	}
	err = p.withTree(ctx, subvolume, 0, func(t *mountedTree) error {
		what, err = in.apply(ctx, t, f)
		return err
	})
	return what, err
}

// find is the first partition of the root device on which the first name of the
// path is a directory, and the option for the part of it that is meant.
func (in *injector) find(ctx context.Context, file string) (*place, string, error) {
	first, _, _ := strings.Cut(strings.TrimPrefix(file, "/"), "/")
	var others []string
	for i, p := range in.places {
		if err := p.usable(); err != nil {
			if p.foreign != "" {
				others = append(others, err.Error())
			}
			continue
		}
		found, subvolume := false, ""
		err := p.withTree(ctx, "", unix.MS_RDONLY, func(t *mountedTree) error {
			if found = t.IsDir(first); !found && p.info.Kind == volume.Btrfs {
				subvolume = t.rootSubvolume(first)
				found = subvolume != ""
			}
			return nil
		})
		if errors.Is(err, disk.ErrBusy) || errors.Is(err, unix.EBUSY) || ctx.Err() != nil {
			return nil, "", err
		}
		if err != nil {
			in.h.Log.WithError(err).Warn("partition left out")
			others = append(others, err.Error())
			continue
		}
		if found {
			return &in.places[i], subvolume, nil
		}
	}
	problem := fmt.Sprintf("none of the %d partitions of %s has the directory /%s", len(in.places), in.device.Name, first)
	if len(others) > 0 {
		problem += "; " + strings.Join(others, "; ")
	}
	return nil, "", ipa.DeviceNotFound.New("%s", problem)
}

// maxSubvolumes is how many names at the top of a btrfs are looked at.
const maxSubvolumes = 256

// rootSubvolume is the option for the subvolume, at the top of a btrfs, that is
// the root file system by its own table, and has the directory; "" if there is
// none.
func (t *mountedTree) rootSubvolume(first string) string {
	names, err := t.Names("/", maxSubvolumes)
	if err != nil {
		return ""
	}
	for _, name := range names {
		if !t.IsDir(path.Join(name, first)) {
			continue
		}
		entries, _ := t.fstab(path.Join(name, "etc")) // one that cannot be read names no root
		for _, e := range entries {
			if option := e.subvolume(); e.dir == "/" && strings.TrimPrefix(strings.TrimPrefix(option, "subvol="), "/") == name {
				return option
			}
		}
	}
	return ""
}

// apply does one file in a mounted tree.
func (in *injector) apply(ctx context.Context, t *mountedTree, f injection) (what string, err error) {
	automatic := f.number == 0 && f.device == ""
	resolve := func() (string, error) { return t.Resolve(f.path) }
	if f.deleted {
		resolve = func() (string, error) {
			dir, err := t.ResolveDir(path.Dir(f.path))
			return path.Join(dir, path.Base(f.path)), err
		}
	}
	at := f.path
	if automatic {
		if at, err = in.locate(t, resolve); err != nil {
			return "", err
		}
	}
	if f.deleted {
		was, err := t.Remove(at)
		if err != nil {
			return "", err
		}
		if !was {
			return fmt.Sprintf("%s is not on %s", f.path, t.partitionOf(at)), nil
		}
		return fmt.Sprintf("%s deleted from %s", f.path, t.partitionOf(at)), nil
	}
	content, err := in.open(ctx, f)
	if err != nil {
		return "", err
	}
	defer content.Close()
	if err := t.Write(at, content, f.attributes); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s written to %s", f.path, t.partitionOf(at)), nil
}
