package generic

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images"
	"ferric/images/configdrive"
	"ferric/images/disk"
	"ferric/images/partition"
	"ferric/images/source"
)

// Time limits of the runs of podman: a container that is an operating system
// has some GiB.
const (
	bootcPullTime    = time.Hour
	bootcInstallTime = 2 * time.Hour
	bootcRemoveTime  = time.Minute
)

// bootcReserve is what bootc's partitions other than the root one take of the
// disk, in MiB (agent contract, section "execute_bootc_install").
const bootcReserve = 768

func bootcStep() ipa.Step {
	return ipa.Step{
		Step: "execute_bootc_install", Interface: "deploy",
		ArgsInfo: map[string]ipa.Arg{
			"image_source":    {Description: "The bootable container: oci://registry/path:tag.", Required: true},
			"configdrive":     {Description: "Config drive: base64 of a gzipped image, or its URL.", Required: true},
			"oci_pull_secret": {Description: "Base64 of the credentials for the registry.", Required: true},
		},
	}
}

// executeBootcInstall is the step: it picks the disk and installs.
func (m *Manager) executeBootcInstall(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args, "image_source", "configdrive", "oci_pull_secret"); err != nil {
		return nil, err
	}
	var texts [3]string
	for i, name := range []string{"image_source", "configdrive", "oci_pull_secret"} {
		value, given := call.Args[name]
		text, ok := value.(string)
		if !given || value != nil && !ok {
			return nil, ipa.InvalidCommandParams.New("%s must be given, as a string", name)
		}
		texts[i] = text
	}
	info, _ := call.Node["instance_info"].(map[string]any)
	device, err := m.InstallDevice(ctx, h, call.Node)
	if err != nil {
		return nil, err
	}
	h.Image.Set(nil)
	req := hwmanager.BootcRequest{Source: texts[0], ConfigDrive: texts[1], PullSecret: texts[2], InstanceInfo: info}
	result, err := m.InstallBootc(ctx, h, device, req, call.Node, call.Progress)
	if err != nil {
		return nil, err
	}
	h.Image.Set(result)
	return map[string]string{"result": "execute_bootc_install: " + result.Text}, nil
}

// InstallBootc implements hwmanager.BootcInstaller with podman: it pulls the
// container and lets it install itself onto the device.
func (m *Manager) InstallBootc(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, req hwmanager.BootcRequest, node hwmanager.Node, progress func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	if h.Settings.DisableBootcDeploy {
		return nil, ipa.CommandExecution.New("bootc deployment is disabled (disable_bootc_deploy)")
	}
	image := strings.TrimPrefix(req.Source, "oci://")
	// It becomes an argument of podman.
	if image == "" || strings.HasPrefix(image, "-") || strings.ContainsFunc(image, func(r rune) bool { return r <= ' ' }) {
		return nil, ipa.InvalidCommandParams.New("image_source %q names no container", req.Source)
	}
	target, err := mayWrite(h, device, node)
	if err != nil {
		return nil, err
	}
	if err := configurePodman(h.Etc); err != nil {
		return nil, err
	}
	report := func(phase string) {
		progress(ipa.Progress{Step: "execute_bootc_install", Phase: phase, SecondsLeft: -1})
	}
	report(ipa.PhasePulling)
	if err := pullContainer(ctx, h, image, req.PullSecret); err != nil {
		return nil, err
	}
	if err := m.releaseDisk(ctx, h, device, node); err != nil {
		return nil, err
	}
	report(ipa.PhaseInstalling)
	if err := runBootc(ctx, h, image, target, device.Size, req.InstanceInfo); err != nil {
		return nil, err
	}
	report(ipa.PhaseConfigDrive)
	signature, err := finishBootc(ctx, h, target, req.ConfigDrive)
	if err != nil {
		return nil, err
	}
	return &hwmanager.ImageResult{
		Text:     fmt.Sprintf("Container image (%s) written to device %s", req.Source, device.Name),
		Device:   device.Name,
		RootUUID: signature,
	}, nil
}

// configurePodman lets containers run with a root file system in memory, which
// pivot_root(2) refuses.
func configurePodman(etc string) error {
	dir := filepath.Join(etc, "containers/containers.conf.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("configure podman: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "01-ipa.conf"), []byte("[engine]\nno_pivot_root = true\n"), 0o644); err != nil {
		return fmt.Errorf("configure podman: %w", err)
	}
	return nil
}

// retryDelay is unknown to podman before 5.0, which does not wait.
const retryDelay = "--retry-delay=5s"

// pullContainer fetches the image. The secret is gone when it returns, before
// any code of the container runs.
func pullContainer(ctx context.Context, h *hwmanager.Host, image, secret string) error {
	ctx, cancel := context.WithTimeout(ctx, bootcPullTime)
	defer cancel()
	args := []string{"pull"}
	if secret != "" {
		file, err := authFile(image, secret)
		if err != nil {
			return err
		}
		defer os.Remove(file)
		args = append(args, "--authfile="+file)
	}
	_, err := h.Run.Run(ctx, "podman", slices.Concat(args, []string{retryDelay, image})...)
	if err != nil && strings.Contains(err.Error(), "unknown flag: --retry-delay") {
		_, err = h.Run.Run(ctx, "podman", append(args, image)...)
	}
	if hwmanager.NoProgram(err) {
		return ipa.ImageDownload.New("container %s cannot be pulled: podman is not installed in this ramdisk", image)
	}
	if err != nil {
		return ipa.ImageDownload.New("container %s cannot be pulled: %v", image, err)
	}
	return nil
}

// authFile writes the credentials for the image's registry in the form of
// containers-auth.json(5).
func authFile(image, secret string) (string, error) {
	decoded, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		return "", ipa.InvalidCommandParams.New("the pull secret is not base64")
	}
	registry, _, _ := strings.Cut(image, "/")
	content, err := json.Marshal(map[string]any{"auths": map[string]any{registry: map[string]string{"auth": strings.TrimSpace(string(decoded))}}})
	if err != nil {
		return "", fmt.Errorf("credentials for podman: %w", err)
	}
	return privateFile("ipa-auth-*.json", content)
}

// privateFile makes a file for the owner alone in the directory for temporary
// ones.
func privateFile(pattern string, content []byte) (string, error) {
	f, err := os.CreateTemp("", pattern) // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// runBootc lets the container install itself.
func runBootc(ctx context.Context, h *hwmanager.Host, image string, target disk.Target, size int64, info map[string]any) error {
	rootMiB := size>>20 - bootcReserve
	if rootMiB <= 0 {
		return ipa.ImageWrite.New("%s has %d MiB; a container needs more than %d", target.Path(), size>>20, bootcReserve)
	}
	ctx, cancel := context.WithTimeout(ctx, bootcInstallTime)
	defer cancel()
	run := []string{
		"run", "--rm", "--privileged", "--pid=host", "--pull=never",
		"-v", "/var/lib/containers:/var/lib/containers", "-v", "/dev:/dev",
	}
	install := []string{"bootc", "install", "to-disk", "--wipe", "--skip-fetch-check", fmt.Sprintf("--root-size=%dM", rootMiB)}
	if _, err := os.Stat(filepath.Join(h.Sys, "fs/selinux/enforce")); err == nil {
		run = append(run, "--security-opt", "label=type:unconfined_t")
	} else {
		install = append(install, "--disable-selinux")
	}
	if isTrue(info["bootc_tpm2_luks"]) {
		install = append(install, "--block-setup=tpm2-luks")
	}
	if keys, _ := info["bootc_authorized_keys"].(string); keys != "" {
		file, err := privateFile("ipa-authorized-keys-*", []byte(keys))
		if err != nil {
			return fmt.Errorf("authorized keys: %w", err)
		}
		defer os.Remove(file)
		dir := filepath.Dir(file)
		run = append(run, "-v", dir+":"+dir)
		install = append(install, "--root-ssh-authorized-keys="+file)
	}
	if err := target.Check(); err != nil {
		return err
	}
	_, err := h.Run.Run(ctx, "podman", slices.Concat(run, []string{image}, install, []string{target.Path()})...)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = removeContainers(ctx, h, err)
	}
	return ipa.ImageWrite.New("container %s onto %s: %v", image, target.Path(), err)
}

// removeContainers ends what goes on writing to the disk when podman was
// killed: containers are not its children.
func removeContainers(ctx context.Context, h *hwmanager.Host, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bootcRemoveTime)
	defer cancel()
	if _, err := h.Run.Run(ctx, "podman", "rm", "--all", "--force"); err != nil {
		return fmt.Errorf("%w; and the container may still run: %w", cause, err)
	}
	return cause
}

// isTrue reads a member of instance_info or driver_info, which may be text.
func isTrue(value any) bool {
	switch v := value.(type) {
	case bool:
		return v
	case string:
		return slices.Contains([]string{"true", "1", "yes", "on", "t", "y"}, strings.ToLower(strings.TrimSpace(v)))
	}
	return false
}

// finishBootc checks what the container left on the disk, adds the config
// drive and reads the MBR signature.
func finishBootc(ctx context.Context, h *hwmanager.Host, target disk.Target, configDrive string) (string, error) {
	_ = partition.FixBackup(target) // as after an image: Validate decides
	if err := partition.Validate(target.Path()); err != nil {
		return "", ipa.Deployment.New("after bootc: %v", err)
	}
	if configDrive != "" {
		client, err := h.Settings.HTTPClient()
		if err != nil {
			return "", err
		}
		retry := source.Retry{Retries: h.Settings.ConnectRetries, Interval: h.Settings.ConnectRetryInterval, Idle: h.Settings.ConnectTimeout}
		if _, err := configdrive.Write(ctx, target, configDrive, configdrive.Options{Client: client, Retry: retry, Rebuild: h.Settings.ConfigDriveRebuild}); err != nil {
			return "", images.Kind(err).New("config drive after bootc: %v", err)
		}
	}
	if err := partition.Reread(ctx, target.Path()); err != nil {
		return "", err
	}
	return partition.Signature(target.Path())
}
