package agent

import (
	"maps"
	"slices"

	"ferric/agent/config"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// settingsOf are the options that managers act on.
func settingsOf(cfg *config.Config) hwmanager.Settings {
	return hwmanager.Settings{
		MD5Enabled:                  cfg.MD5Enabled,
		DisableDeepImageInspection:  cfg.DisableDeepImageInspection,
		PermittedImageFormats:       cfg.PermittedImageFormats,
		ConfigDriveRebuild:          cfg.ConfigDriveRebuild,
		InjectFilesPriority:         cfg.InjectFilesPriority,
		DisableBootcDeploy:          cfg.DisableBootcDeploy,
		EnableBIOSBootloaderInstall: cfg.EnableBIOSBootloaderInstall,
		StrictRootDevice:            cfg.StrictRootDevice,
		IgnoreBootloaderFailure:     cfg.IgnoreBootloaderFailure != nil && *cfg.IgnoreBootloaderFailure,
		GuardSpecialFilesystems:     cfg.GuardSpecialFilesystems,
		BootIF:                      cfg.BootIF,
		ImageServer: hwmanager.ImageServer{
			AuthStrategy: cfg.ImageServerAuthStrategy, User: cfg.ImageServerUser, Password: cfg.ImageServerPassword,
		},
		ConnectTimeout:       cfg.ImageConnectTimeout,
		ConnectRetries:       cfg.ImageConnectRetries,
		ConnectRetryInterval: cfg.ImageRetryInterval,
		MaxDownload:          cfg.ImageMaxDuration,
		GlobalRequestID:      cfg.GlobalRequestID,
		Insecure:             cfg.Insecure,
		CAFile:               cfg.CAFile,
		CertFile:             cfg.CertFile,
		KeyFile:              cfg.KeyFile,
		DiskWaitAttempts:     cfg.DiskWaitAttempts,
		DiskWaitDelay:        cfg.DiskWaitDelay,
		CollectLLDP:          cfg.CollectLLDP,
		LLDPTimeout:          cfg.LLDPTimeout,
		EnableVLANInterfaces: cfg.EnableVLANInterfaces,
		InspectionBenchmarks: cfg.InspectionBenchmarks,

		EFISystemPartitionSize: cfg.EFISystemPartitionSize,
		BIOSBootPartitionSize:  cfg.BIOSBootPartitionSize,
		CheckDeviceInterval:    cfg.CheckDeviceInterval,
		CheckDeviceMaxRetries:  cfg.CheckDeviceMaxRetries,
		Container: hwmanager.Container{
			AllowArbitrary: cfg.AllowArbitraryContainers,
			Allowed:        cfg.AllowedContainers,
			StepsFile:      cfg.ContainerStepsFile,
			Runner:         cfg.ContainerRunner,
			PullOptions:    cfg.ContainerPullOptions,
			RunOptions:     cfg.ContainerRunOptions,
		},
	}
}

// applyLookup takes over what the conductor wants of all its agents (agent
// contract, section "Lookup"). What is bad is a warning.
func (a *Agent) applyLookup(c ipa.LookupConfig) {
	override := func(section, option string, value any) {
		if err := a.cfg.Override(section, option, value); err != nil {
			a.log.WithError(err).Warn("answer to the lookup")
		}
	}
	if c.AgentMD5ChecksumEnable != nil {
		a.cfg.MD5Enabled = *c.AgentMD5ChecksumEnable
	}
	if c.DisableDeepImageInspection != nil {
		a.cfg.DisableDeepImageInspection = *c.DisableDeepImageInspection
	}
	if c.PermittedImageFormats != nil {
		a.cfg.PermittedImageFormats = c.PermittedImageFormats
	}
	if c.EnableBIOSBootloaderInstall {
		a.cfg.EnableBIOSBootloaderInstall = true
	}
	if c.TLSMinVersion != "" {
		override("DEFAULT", "tls_min_version", c.TLSMinVersion)
	}
	if c.TLSCipherSuites != nil && *c.TLSCipherSuites != "" {
		override("DEFAULT", "tls_cipher_suites", *c.TLSCipherSuites)
	}
	for _, option := range slices.Sorted(maps.Keys(c.AgentContainers)) {
		override("container", option, c.AgentContainers[option])
	}
	a.host.Settings = settingsOf(a.cfg)
	a.host.Settings.SkipBMCDetect = c.AgentSkipBMCDetect
}
