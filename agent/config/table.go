package config

import "strings"

// setting is one row of the table. The default is text, parsed like a value of
// a configuration file.
type setting struct {
	parameter string // on the kernel command line; "" if it is not read from there
	section   string // of a configuration file; "" if it is not read from files
	option    string // name in the section; the flag is made of both
	field     func(*Config) any
	def       string
	help      string
	check     func(value string) error // nil if all that parses is good
}

// flag is the name on the command line: as oslo.config makes it, the section
// in front unless it is [DEFAULT] or ours.
func (s setting) flag() string {
	name := strings.ReplaceAll(s.option, "_", "-")
	if s.section == "" || s.section == "DEFAULT" || s.section == "ferric" {
		return name
	}
	return s.section + "-" + name
}

// ignored is the field of options that are accepted but have no effect; their
// help says why.
func ignored(*Config) any { return new(string) }

// find is the row of an option of a configuration file.
func find(section, option string) (setting, bool) {
	for _, s := range settings {
		if s.section != "" && s.section == section && s.option == option {
			return s, true
		}
	}
	return setting{}, false
}

// settings is the table: all options of the agent contract, section
// "Configuration", and ours (section "ferric", parameters "ferric-*").
var settings = []setting{
	{"ipa-api-url", "DEFAULT", "api_url", func(c *Config) any { return &c.APIURLs }, "", "comma-separated URLs of the bare-metal API; \"mdns\": found by multicast DNS", urlsOrMDNS},
	{"ipa-debug", "DEFAULT", "debug", func(c *Config) any { return &c.Debug }, "false", "log more; the kernel parameter wins over files and flags", nil},
	{"ipa-global-request-id", "DEFAULT", "global_request_id", func(c *Config) any { return &c.GlobalRequestID }, "", "X-OpenStack-Request-ID of all requests", headerText},
	{"ipa-agent-token", "DEFAULT", "agent_token", func(c *Config) any { return &c.AgentToken }, "", "token given in advance", nil},

	{"ipa-listen-host", "DEFAULT", "listen_host", func(c *Config) any { return &c.ListenHost }, "::", "address to listen on", nil},
	{"ipa-listen-port", "DEFAULT", "listen_port", func(c *Config) any { return &c.ListenPort }, "9999", "port to listen on (0: any free one)", port},
	{"ipa-advertise-host", "DEFAULT", "advertise_host", func(c *Config) any { return &c.AdvertiseHost }, "", "address to advertise, found by routing if empty", nil},
	{"ipa-advertise-port", "DEFAULT", "advertise_port", func(c *Config) any { return &c.AdvertisePort }, "0", "port to advertise (0: the one listened on, so 9999 as well)", port},
	{"ipa-advertise-protocol", "DEFAULT", "advertise_protocol", func(c *Config) any { return &c.AdvertiseProtocol }, "http", "scheme to advertise without TLS of our own: http or https", oneOf("http", "https")},
	{"ipa-network-interface", "DEFAULT", "network_interface", func(c *Config) any { return &c.NetworkInterface }, "", "interface whose IPv4 address is advertised", nil},
	{"ipa-ip-lookup-attempts", "DEFAULT", "ip_lookup_attempts", func(c *Config) any { return &c.IPLookupAttempts }, "6", "tries to find the address to advertise", between(1, maxCount)},
	{"ipa-ip-lookup-timeout", "DEFAULT", "ip_lookup_sleep", func(c *Config) any { return &c.IPLookupSleep }, "10", "seconds between these tries", nil},

	{"ipa-lookup-timeout", "DEFAULT", "lookup_timeout", func(c *Config) any { return &c.LookupTimeout }, "600", "seconds to look the node up for", nil},
	{"ipa-lookup-interval", "DEFAULT", "lookup_interval", func(c *Config) any { return &c.LookupInterval }, "1", "least seconds between lookups", nil},
	{"ipa-http-request-timeout", "DEFAULT", "http_request_timeout", func(c *Config) any { return &c.HTTPRequestTimeout }, "30", "seconds for one request to the API", aboveZero},
	{"ipa-ironic-api-version", "DEFAULT", "ironic_api_version", func(c *Config) any { return &c.IronicAPIVersion }, "", "API version, instead of asking the server", apiVersion},
	{"ferric-forced-heartbeat-gap", "ferric", "forced_heartbeat_gap", func(c *Config) any { return &c.ForcedHeartbeatGap }, "5", "least seconds between a heartbeat and the forced one at the end of a command", nil},

	{"ipa-insecure", "DEFAULT", "insecure", func(c *Config) any { return &c.Insecure }, "false", "do not verify certificates of servers", nil},
	{"", "DEFAULT", "cafile", func(c *Config) any { return &c.CAFile }, "", "PEM file of authorities to trust, those of the system if empty", nil},
	{"", "DEFAULT", "certfile", func(c *Config) any { return &c.CertFile }, "", "PEM file with a client certificate; needs keyfile", nil},
	{"", "DEFAULT", "keyfile", func(c *Config) any { return &c.KeyFile }, "", "PEM file with the key of certfile", nil},
	{"", "DEFAULT", "listen_tls", func(c *Config) any { return &c.ListenTLS }, "false", "serve TLS with the certificate of tls_cert_file; wants advertise_protocol=https", nil},
	{"", "DEFAULT", "tls_cert_file", func(c *Config) any { return &c.TLSCertFile }, "", "PEM file with the certificate to serve", nil},
	{"", "DEFAULT", "tls_key_file", func(c *Config) any { return &c.TLSKeyFile }, "", "PEM file with the key of tls_cert_file", nil},
	{"", "DEFAULT", "enable_auto_tls", func(c *Config) any { return &c.EnableAutoTLS }, "true", "serve TLS with a certificate of our own, unless listen_tls", nil},
	{"", "DEFAULT", "auto_tls_allowed_clock_skew", func(c *Config) any { return &c.AllowedClockSkew }, "3600", "seconds that our certificate is dated back", nil},
	{"ipa-tls-min-version", "DEFAULT", "tls_min_version", func(c *Config) any { return &c.TLSMinVersion }, "1.2", "lowest TLS version served: 1.2 or 1.3", oneOf("1.2", "1.3")},
	{"ipa-tls-cipher-suites", "DEFAULT", "tls_cipher_suites", func(c *Config) any { return &c.TLSCipherSuites }, "", "cipher suites of TLS 1.2 (OpenSSL names, colon-separated), the contract's if empty", nil},
	{"ipa-tls-certificate-curve", "DEFAULT", "tls_certificate_curve", func(c *Config) any { return &c.TLSCertificateCurve }, "p384", "curve of our certificate: p256, p384 or p521", oneOf("p256", "p384", "p521", "P256", "P384", "P521")},

	{"ipa-use-mdns", "mdns", "use_mdns", func(c *Config) any { return &c.UseMDNS }, "false", "without an API URL look for one by multicast DNS", nil},
	{"", "mdns", "allowed_overrides", func(c *Config) any { return &c.MDNSAllowedOverrides }, "inspection_callback_url,ntp_server", "options that a multicast DNS answer may set", nil},
	{"", "mdns", "lookup_attempts", func(c *Config) any { return &c.MDNSLookupAttempts }, "3", "multicast DNS questions", between(1, maxCount)},
	{"", "mdns", "interfaces", func(c *Config) any { return &c.MDNSInterfaces }, "", "addresses of the interfaces to ask on, all if empty", nil},
	{"", "mdns", "params", ignored, "", "accepted, no effect: for announcing a service, which the agent does not", nil},

	{"ipa-inspection-callback-url", "DEFAULT", "inspection_callback_url", func(c *Config) any { return &c.InspectionCallbackURLs }, "", "comma-separated URLs to post the inventory to before lookup; \"mdns\": found by multicast DNS", urlsOrMDNS},
	{"ipa-inspection-collectors", "DEFAULT", "inspection_collectors", func(c *Config) any { return &c.InspectionCollectors }, "", "comma-separated collectors of the inspection (then default,logs if empty)", nil},
	{"ipa-inspection-dhcp-wait-timeout", "DEFAULT", "inspection_dhcp_wait_timeout", func(c *Config) any { return &c.InspectionDHCPWaitTimeout }, "60", "seconds to wait for addresses before the inspection (0: none)", nil},
	{"ipa-inspection-dhcp-all-interfaces", "DEFAULT", "inspection_dhcp_all_interfaces", func(c *Config) any { return &c.InspectionDHCPAllInterfaces }, "false", "wait for addresses on all interfaces, not only the one booted from", nil},
	{"ipa-inspection-benchmarks", "", "inspection_benchmarks", func(c *Config) any { return &c.InspectionBenchmarks }, "", "comma-separated benchmarks of the collector extra-hardware: cpu, disk, mem", nil},
	{"ipa-collect-lldp", "DEFAULT", "collect_lldp", func(c *Config) any { return &c.CollectLLDP }, "false", "put LLDP packets of the switches into the inventory", nil},
	{"ipa-lldp-timeout", "DEFAULT", "lldp_timeout", func(c *Config) any { return &c.LLDPTimeout }, "30", "seconds to wait for an LLDP packet", nil},
	{"ipa-enable-vlan-interfaces", "DEFAULT", "enable_vlan_interfaces", func(c *Config) any { return &c.EnableVLANInterfaces }, "", "comma-separated VLAN interfaces to make: interface.vlan, interface (its VLANs by LLDP) or all", nil},
	{"", "DEFAULT", "introspection_daemon", func(c *Config) any { return &c.IntrospectionDaemon }, "false", "ferric-agent inspect: post the inventory again and again, not once", nil},
	{"", "DEFAULT", "introspection_daemon_post_interval", func(c *Config) any { return &c.IntrospectionDaemonPostInterval }, "300", "seconds between two of these posts, about", nil},

	{"ipa-hardware-initialization-delay", "DEFAULT", "hardware_initialization_delay", func(c *Config) any { return &c.HardwareInitializationDelay }, "0", "seconds to wait for slow hardware", nil},
	{"ipa-disk-wait-attempts", "DEFAULT", "disk_wait_attempts", func(c *Config) any { return &c.DiskWaitAttempts }, "10", "how often to look for a disk", between(0, maxCount)},
	{"ipa-disk-wait-delay", "DEFAULT", "disk_wait_delay", func(c *Config) any { return &c.DiskWaitDelay }, "3", "seconds between looks", nil},
	{"ipa-ntp-server", "DEFAULT", "ntp_server", func(c *Config) any { return &c.NTPServer }, "", "server to set the clock from at the start and before the machine is left", ntpServer},
	{"", "DEFAULT", "fail_if_clock_not_set", func(c *Config) any { return &c.FailIfClockNotSet }, "false", "a clock that cannot be set is fatal", nil},

	{"ipa-image-download-connection-timeout", "DEFAULT", "image_download_connection_timeout", func(c *Config) any { return &c.ImageConnectTimeout }, "60", "seconds without a byte of an image", nil},
	{"ipa-image-download-connection-retries", "DEFAULT", "image_download_connection_retries", func(c *Config) any { return &c.ImageConnectRetries }, "9", "further connections to an image server", between(0, maxCount)},
	{"ipa-image-download-connection-retry-interval", "DEFAULT", "image_download_connection_retry_interval", func(c *Config) any { return &c.ImageRetryInterval }, "10", "seconds between connections", nil},
	{"ipa-image-download-max-duration", "DEFAULT", "image_download_max_duration", func(c *Config) any { return &c.ImageMaxDuration }, "0", "seconds for a whole image (0: no limit)", nil},
	{"", "DEFAULT", "image_server_auth_strategy", func(c *Config) any { return &c.ImageServerAuthStrategy }, "noauth", "how to log in at image servers: noauth or http_basic", oneOf("noauth", "http_basic")},
	{"", "DEFAULT", "image_server_user", func(c *Config) any { return &c.ImageServerUser }, "", "user name for image servers", nil},
	{"", "DEFAULT", "image_server_password", func(c *Config) any { return &c.ImageServerPassword }, "", "password for image servers", nil},
	{"", "DEFAULT", "md5_enabled", func(c *Config) any { return &c.MD5Enabled }, "true", "take MD5 as a checksum of images", nil},
	{"", "DEFAULT", "disable_deep_image_inspection", func(c *Config) any { return &c.DisableDeepImageInspection }, "false", "do not look for unsafe features in images", nil},
	{"", "DEFAULT", "permitted_image_formats", func(c *Config) any { return &c.PermittedImageFormats }, "raw,gpt,qcow2", "formats of images that may be written", nil},
	{"", "DEFAULT", "config_drive_rebuild", func(c *Config) any { return &c.ConfigDriveRebuild }, "false", "make every config drive anew as a FAT volume", nil},
	{"ipa-inject-files-priority", "DEFAULT", "inject_files_priority", func(c *Config) any { return &c.InjectFilesPriority }, "0", "priority of the deploy step inject_files (0 to 99; 0: only on demand)", between(0, 99)},
	{"", "DEFAULT", "disable_bootc_deploy", func(c *Config) any { return &c.DisableBootcDeploy }, "false", "refuse execute_bootc_install", nil},
	{"ipa-ignore-bootloader-failure", "DEFAULT", "ignore_bootloader_failure", func(c *Config) any { return &c.IgnoreBootloaderFailure }, "", "a failed install_bootloader succeeds (unset: no, the command's parameter decides)", nil},
	{"", "DEFAULT", "enable_bios_bootloader_install", func(c *Config) any { return &c.EnableBIOSBootloaderInstall }, "false", "allow GRUB of an image to be run to install it", nil},
	{"ipa-guard-special-filesystems", "DEFAULT", "guard_special_filesystems", func(c *Config) any { return &c.GuardSpecialFilesystems }, "true", "never erase disks of shared file systems", nil},

	{"", "disk_utils", "efi_system_partition_size", func(c *Config) any { return &c.EFISystemPartitionSize }, "550", "MiB of the EFI system partition of partition images", between(1, maxMiB)},
	{"", "disk_utils", "bios_boot_partition_size", func(c *Config) any { return &c.BIOSBootPartitionSize }, "1", "MiB of the BIOS boot partition of partition images", between(1, maxMiB)},
	{"", "disk_utils", "partition_detection_attempts", ignored, "3", "accepted, no effect: the kernel is told of new partitions one by one, there is nothing to look for", nil},
	{"", "disk_utils", "partprobe_attempts", ignored, "10", "accepted, no effect: a busy kernel is asked again for 20 seconds", nil},
	{"", "disk_utils", "dd_block_size", ignored, "1M", "accepted, no effect: images are written without dd, in blocks of a fixed size", nil},
	{"", "disk_utils", "image_convert_memory_limit", ignored, "2048", "accepted, no effect: images are converted while they stream, without qemu-img", nil},
	{"", "disk_utils", "image_convert_attempts", ignored, "3", "accepted, no effect: see image_convert_memory_limit", nil},
	{"", "disk_partitioner", "check_device_interval", func(c *Config) any { return &c.CheckDeviceInterval }, "1", "seconds between looks whether a disk is still in use", nil},
	{"", "disk_partitioner", "check_device_max_retries", func(c *Config) any { return &c.CheckDeviceMaxRetries }, "20", "how often to look", between(0, maxCount)},

	{"", "container", "allow_arbitrary_containers", func(c *Config) any { return &c.AllowArbitraryContainers }, "false", "let steps run any container", nil},
	{"", "container", "allowed_containers", func(c *Config) any { return &c.AllowedContainers }, "", "container images that steps may run", nil},
	{"", "container", "container_steps_file", func(c *Config) any { return &c.ContainerStepsFile }, "/etc/ironic-python-agent.d/mysteps.yaml", "file with steps that are containers", nil},
	{"", "container", "runner", func(c *Config) any { return &c.ContainerRunner }, "podman", "program that runs containers: podman or docker", oneOf("podman", "docker")},
	{"", "container", "pull_options", func(c *Config) any { return &c.ContainerPullOptions }, "", "options of its pull", nil},
	{"", "container", "run_options", func(c *Config) any { return &c.ContainerRunOptions }, "--rm,--network=host", "options of its run", nil},

	{"", "metrics", "backend", ignored, "noop", "accepted, no effect: metrics of the agent are deprecated", nil},
	{"", "metrics", "prepend_host", ignored, "false", "accepted, no effect: see backend", nil},
	{"", "metrics", "prepend_uuid", ignored, "false", "accepted, no effect: see backend", nil},
	{"", "metrics", "prepend_host_reverse", ignored, "true", "accepted, no effect: see backend", nil},
	{"", "metrics", "global_prefix", ignored, "", "accepted, no effect: see backend", nil},
	{"", "metrics_statsd", "statsd_host", ignored, "localhost", "accepted, no effect: see [metrics] backend", nil},
	{"", "metrics_statsd", "statsd_port", ignored, "8125", "accepted, no effect: see [metrics] backend", nil},

	{"", "DEFAULT", "log_file", ignored, "", "accepted, no effect: the log goes to standard error and into the archive of logs", nil},
	{"", "DEFAULT", "log_dir", ignored, "", "accepted, no effect: see log_file", nil},
	{"", "DEFAULT", "use_stderr", ignored, "", "accepted, no effect: see log_file", nil},
	{"", "DEFAULT", "use_syslog", ignored, "", "accepted, no effect: see log_file", nil},
	{"", "DEFAULT", "use_journal", ignored, "", "accepted, no effect: see log_file", nil},

	{"BOOTIF", "", "bootif", func(c *Config) any { return &c.BootIF }, "", "MAC address of the interface booted from", nil},
	{"boot_method", "", "boot_method", func(c *Config) any { return &c.BootMethod }, "", "\"vmedia\": configuration and parameters are on virtual media", nil},
	{"ferric-strict-root-device", "ferric", "strict_root_device", func(c *Config) any { return &c.StrictRootDevice }, "false", "fail if several disks match the root device hints (or, without hints, have 4 GiB) instead of taking the first", nil},
	{"ferric-allow-devices", "ferric", "allow_devices", func(c *Config) any { return &c.AllowDevices }, "", "comma-separated patterns of devices that may be written to outside a ramdisk", nil},

	{"", "", "config_file", func(c *Config) any { return &c.ConfigFiles }, "", "configuration file, instead of *.conf in etc/ironic-python-agent; may be repeated", nil},
	{"", "", "config_dir", func(c *Config) any { return &c.ConfigDir }, "", "directory of further configuration files (*.conf), etc/ironic-python-agent.d if empty", nil},
	{"", "", "etc", func(c *Config) any { return &c.Etc }, "/etc", "root of the configuration", nil},
	{"", "", "sys", func(c *Config) any { return &c.Sys }, "/sys", "root of sysfs", nil},
	{"", "", "proc", func(c *Config) any { return &c.Proc }, "/proc", "root of procfs", nil},
	{"", "", "dev", func(c *Config) any { return &c.Dev }, "/dev", "root of the device files", nil},
	{"", "", "state_dir", func(c *Config) any { return &c.StateDir }, "/run/ironic-python-agent", "where key, certificate, token and commands survive a restart of the agent", nil},
	{"ipa-plugin-dir", "ferric", "plugin_dir", func(c *Config) any { return &c.PluginDir }, "/usr/lib/ferric/plugins", "directory of executable hardware managers: directories with a plugin.json, or with an executable of the same name", nil},
	{"", "", "plugin_keys", func(c *Config) any { return &c.PluginKeys }, "/etc/ferric/plugin-keys", "directory of the public keys (*.pub) whose plugins are taken from the conductor", nil},
	{"", "", "plugin_minimums", func(c *Config) any { return &c.PluginMinimums }, "/etc/ferric/plugin-minimums.json", "oldest versions of plugins that are taken from the conductor, by name", nil},
	{"", "", "fetched_plugin_dir", func(c *Config) any { return &c.FetchedPluginDir }, "/run/ferric/plugins", "where plugins of the conductor are put", nil},
	{"", "", "cmdline", func(c *Config) any { return &c.Cmdline }, "/proc/cmdline", "file with the kernel command line", nil},
}
