package conductor

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// renamed are options under names that Ironic has given up, and their names of
// today. Literal table.
var renamed = map[string]string{
	"conductor.send_sensor_data":                      "sensor_data.send_sensor_data",
	"conductor.send_sensor_data_interval":             "sensor_data.interval",
	"conductor.send_sensor_data_workers":              "sensor_data.workers",
	"conductor.send_sensor_data_wait_timeout":         "sensor_data.wait_timeout",
	"conductor.send_sensor_data_types":                "sensor_data.data_types",
	"conductor.send_sensor_data_for_undeployed_nodes": "sensor_data.enable_for_undeployed_nodes",
	"agent.heartbeat_timeout":                         "api.ramdisk_heartbeat_timeout",
	"agent.agent_erase_devices_iterations":            "deploy.shred_random_overwrite_iterations",
	"agent.agent_erase_devices_priority":              "deploy.erase_devices_priority",
	"conductor.api_url":                               "service_catalog.endpoint_override",
	"conductor.clean_nodes":                           "conductor.automated_clean",
	"deploy.erase_devices_iterations":                 "deploy.shred_random_overwrite_iterations",
	"DEFAULT.http_basic_username":                     "json_rpc.username",
	"api.cert_file":                                   "ssl.cert_file",
	"api.key_file":                                    "ssl.key_file",
	"api.enable_proxy_headers_parsing":                "oslo_middleware.enable_proxy_headers_parsing",
	"api.tls_minimum_version":                         "api.server_tls_minimum_version",
	"keystone_authtoken.auth_uri":                     "keystone_authtoken.www_authenticate_uri",
	"keystone_authtoken.user":                         "keystone_authtoken.username",
	"keystone_authtoken.tenant_name":                  "keystone_authtoken.project_name",
	"pxe.pxe_append_params":                           "pxe.kernel_append_params",
	"pxe.uefi_ipxe_bootfile":                          "pxe.uefi_ipxe_bootfile_name",
	"database.sql_connection":                         "database.connection",
	"DEFAULT.sql_connection":                          "database.connection",
	"DEFAULT.logfile":                                 "DEFAULT.log_file",
}

// unused are options of Ironic that mean nothing here, and why. A name of the
// form "section.*" is all that has no line of its own. A value that is one of
// fits asks for what is done anyway, and nothing is said about it. Literal
// table; the first that matches counts.
var unused = []struct {
	name string
	why  string
	fits []string
}{
	{"DEFAULT.rpc_transport", "ferric is one process, which needs no RPC", []string{"none", "local"}},
	{"DEFAULT.transport_url", "ferric is one process, which needs no RPC", nil},
	{"DEFAULT.force_raw_images", "agents write images of any format straight to the disk", nil},
	{"DEFAULT.parallel_image_downloads", "images are not downloaded by the conductor", nil},
	{"DEFAULT.image_download_concurrency", "images are not downloaded by the conductor", nil},
	{"DEFAULT.minimum_required_memory", "images are not converted by the conductor", nil},
	{"DEFAULT.minimum_memory_*", "images are not converted by the conductor", nil},
	{"DEFAULT.raw_image_growth_factor", "images are not converted by the conductor", nil},
	{"DEFAULT.tempdir", "the conductor writes no temporary files", nil},
	{"DEFAULT.state_path", "all state is in the database, see [database]connection", nil},
	{"DEFAULT.pybasedir", "there is no Python here", nil},
	{"DEFAULT.bindir", "there is no Python here", nil},
	{"DEFAULT.rootwrap_config", "the conductor starts no programs", nil},
	{"DEFAULT.notification_level", "there is no message bus; see the extension /ferric/v1", nil},
	{"DEFAULT.log_dir", "see [DEFAULT]log_file", nil},
	{"DEFAULT.use_stderr", "the log goes to standard error or to [DEFAULT]log_file", []string{"true"}},
	{"DEFAULT.use_syslog", "the log goes to standard error or to [DEFAULT]log_file", []string{"false"}},
	{"DEFAULT.use_journal", "the log goes to standard error or to [DEFAULT]log_file", []string{"false"}},
	{"DEFAULT.default_log_levels", "see [DEFAULT]debug", nil},
	{"DEFAULT.logging_*", "the log has one format", nil},
	{"DEFAULT.hash_*", "there is one conductor", nil},
	{"DEFAULT.pin_release_version", "there are no older conductors beside this one", nil},
	{"DEFAULT.webserver_*", "see [ssl]", nil},
	{"DEFAULT.grub_config_path", "the boot loader's configuration is rendered when it is asked for", nil},
	{"DEFAULT.esp_image", "no boot images are built", nil},
	{"DEFAULT.isolinux_*", "no boot images are built", nil},
	{"DEFAULT.ldlinux_c32", "no boot images are built", nil},
	{"DEFAULT.fatal_exception_format_errors", "there is no Python here", nil},
	{"DEFAULT.versioned_notifications_topics", "there is no message bus", nil},
	{"api.api_workers", "one process serves all requests at once", nil},
	{"api.enable_ssl_api_key", "see [ssl]", nil},
	{"api.network_data_schema", "the schema of network_data is built in", nil},
	{"conductor.bootloader", "no boot images are built", nil},
	{"conductor.configdrive_*", "config drives are kept in the database", []string{"false"}},
	{"conductor.sync_local_state_interval", "there is one conductor, which takes over from none", nil},
	{"conductor.periodic_max_workers", "see [conductor]workers_pool_size", nil},
	{"deploy.default_boot_option", "machines boot from their disks", []string{"local"}},
	{"deploy.iso_*", "no boot images are built", nil},
	{"deploy.http_image_subdir", "images are fetched from where they are", nil},
	{"deploy.ramdisk_image_download_source", "ramdisks are fetched by the machine from the conductor", nil},
	{"deploy.external_*", "machines reach the conductor by one address; see [service_catalog]endpoint_override and [deploy]http_url", nil},
	{"agent.image_download_source", "agents fetch images from where they are", []string{"http"}},
	{"agent.image_dcache_*", "images are not cached", nil},
	{"agent.api_ca_file", "the ramdisk is given its certificates when it is built, or by kernel parameter", nil},
	{"agent.manage_agent_boot", "machines are booted by the conductor", []string{"true"}},
	{"agent.memory_consumed_by_agent", "images are streamed to the disk", nil},
	{"agent.deploy_logs_swift_*", "there is no Swift", nil},
	{"agent.certificates_path", "certificates of agents are kept in the database", nil},
	{"agent.neutron_agent_*", "there is no Neutron", nil},
	{"dhcp.dhcp_provider", "see [netboot]dhcp: full, proxy or off", []string{"none"}},
	{"pxe.images_path", "images are not cached", nil},
	{"pxe.instance_master_path", "images are not cached", nil},
	{"pxe.tftp_master_path", "images are not cached", nil},
	{"pxe.image_cache_*", "images are not cached", nil},
	{"pxe.uefi_pxe_config_template*", "boot scripts are rendered when they are asked for", nil},
	{"pxe.pxe_config_template*", "boot scripts are rendered when they are asked for", nil},
	{"pxe.ipxe_config_template", "boot scripts are rendered when they are asked for", nil},
	{"pxe.ipxe_boot_script", "boot scripts are rendered when they are asked for", nil},
	{"pxe.ipxe_use_swift", "there is no Swift", []string{"false"}},
	{"pxe.ip_version", "machines are booted over IPv4", []string{"4"}},
	{"pxe.dir_permission", "there are no files per node", nil},
	{"pxe.file_permission", "there are no files per node", nil},
	{"inspector.force_dhcp", "agents take their addresses by DHCP", nil},
	{"console.terminal", "consoles are served by the conductor itself", nil},
	{"console.terminal_cert_dir", "consoles over TLS are those of the API, by WebSocket", nil},
	{"console.terminal_pid_dir", "consoles are served by the conductor itself", nil},
	{"console.subprocess_*", "consoles are served by the conductor itself", nil},
	{"console.kill_timeout", "consoles are served by the conductor itself", nil},
	{"vnc.*", "no graphical console is built in", []string{"false"}},
	{"sensor_data.enable_for_conductor", "what the conductor counts is at /metrics", []string{"true"}},
	{"metrics.backend", "there is no statsd", []string{"noop"}},
	{"metrics.*", "there is no statsd", nil},
	{"metrics_statsd.*", "there is no statsd", nil},
	{"ipmi.use_ipmitool_retries", "IPMI is spoken by the conductor itself, without ipmitool", []string{"false"}},
	{"ipmi.kill_on_timeout", "IPMI is spoken by the conductor itself, without ipmitool", nil},
	{"ipmi.debug", "IPMI is spoken by the conductor itself, without ipmitool", []string{"false"}},
	{"ipmi.store_cred_in_env", "IPMI is spoken by the conductor itself, without ipmitool", nil},
	{"service_catalog.*", "the API is at [api]public_endpoint", nil},
	{"database.backend", "the database is SQLite", []string{"sqlalchemy"}},
	{"database.*", "the database is SQLite", nil},
	{"keystone_authtoken.*", "tokens are cached in memory", nil},
	{"dnsmasq.*", "see [netboot]dhcp", nil},
	{"json_rpc.*", "ferric is one process, which needs no RPC", nil},
	{"oslo_concurrency.*", "locks are in the database", nil},
	{"oslo_messaging_notifications.driver", "there is no message bus", []string{"noop"}},
	{"oslo_messaging_notifications.*", "there is no message bus", nil},
	{"oslo_messaging_rabbit.*", "there is no message bus", nil},
	{"oslo_messaging_kafka.*", "there is no message bus", nil},
	{"oslo_messaging_amqp.*", "there is no message bus", nil},
	{"oslo_middleware.*", "see [oslo_middleware]enable_proxy_headers_parsing", nil},
	{"oslo_policy.*", "the rules of access are built in", nil},
	{"oslo_reports.*", "there is no Python here", nil},
	{"oslo_versionedobjects.*", "there is no Python here", nil},
	{"profiler.*", "there is no Python here", nil},
	{"glance.*", "images are named by URL", nil},
	{"swift.*", "there is no Swift", nil},
	{"cinder.*", "there is no Cinder", nil},
	{"neutron.*", "there is no Neutron", nil},
	{"nova.*", "there is no Nova to be told", []string{"false"}},
	{"ironic_prometheus_exporter.*", "metrics are served by the conductor", nil},
	{"redfish.*", "Redfish is not built in yet; nodes are driven by IPMI", nil},
	{"drac.*", "this hardware type is not built in", nil},
	{"ilo.*", "this hardware type is not built in", nil},
	{"irmc.*", "this hardware type is not built in", nil},
	{"snmp.*", "this hardware type is not built in", nil},
	{"xclarity.*", "this hardware type is not built in", nil},
	{"ibmc.*", "this hardware type is not built in", nil},
	{"molds.*", "there are no configuration molds", nil},
	{"ansible.*", "this deploy interface is not built in", nil},
	{"anaconda.*", "this deploy interface is not built in", nil},
	{"iscsi.*", "this deploy interface is not built in", nil},
	{"disk_utils.*", "disks are written by the agent", nil},
	{"disk_partitioner.*", "disks are written by the agent", nil},
}

// withoutEffect says why an option of Ironic means nothing here. said is false
// where nothing needs to be said, known is false for options that are nobody's.
func withoutEffect(o option) (why string, said, known bool) {
	for _, u := range unused {
		prefix, isPattern := strings.CutSuffix(u.name, "*")
		if o.full() != u.name && (!isPattern || !strings.HasPrefix(o.full(), prefix)) {
			continue
		}
		fit := slices.ContainsFunc(u.fits, func(v string) bool { return strings.EqualFold(v, o.value) })
		return u.why, !fit, true
	}
	return "", false, false
}

// reference is a "$name", "${name}" or "$section.name" in a value, or a
// dollar sign that is meant as one: "$$" or "\$".
var reference = regexp.MustCompile(`\$\$|\\\$|\$\{[A-Za-z_][\w.-]*\}|\$[A-Za-z_]\w*(\.[A-Za-z_]\w*)?`)

// maxReferences bounds references to values that have references themselves.
const maxReferences = 10

// expander puts the values of options where a value refers to them, as
// oslo.config does: of the option's own section first, then of [DEFAULT]. What
// refers to nothing stays as it is.
type expander struct {
	config  any
	options map[string]option // the last of each name
}

func newExpander(config any, options []option) *expander {
	e := &expander{config, map[string]option{}}
	for _, o := range options {
		e.options[o.full()] = o
	}
	return e
}

func (e *expander) expand(o option) (string, error) { return e.text(o.section, o.value, 0) }

func (e *expander) text(section, value string, depth int) (string, error) {
	if depth > maxReferences {
		return "", fmt.Errorf("references lead to references more than %d times", maxReferences)
	}
	var failed error
	expanded := reference.ReplaceAllStringFunc(value, func(match string) string {
		name := strings.Trim(match, "${}\\")
		if name == "" {
			return "$"
		}
		names := []string{section + "." + name, "DEFAULT." + name}
		if strings.Contains(name, ".") {
			names = []string{name}
		}
		for _, name := range names {
			if o, ok := e.options[name]; ok {
				text, err := e.text(o.section, o.value, depth+1)
				if err != nil {
					failed = err
				}
				return text
			}
			if i := slices.IndexFunc(fields(e.config), func(f field) bool { return f.name == name }); i >= 0 {
				return show(fields(e.config)[i].value)
			}
		}
		return match
	})
	return expanded, failed
}

// settable are the places of a config by option.
func settable(config any) map[string][]reflect.Value {
	places := map[string][]reflect.Value{}
	for _, f := range fields(config) {
		places[f.name] = append(places[f.name], f.value)
	}
	return places
}
