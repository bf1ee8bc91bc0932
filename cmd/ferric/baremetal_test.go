package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// baremetalCommands are the commands of the baremetal client, versions 5.1 to
// 6.3, with their options but those of the output. Literal table.
var baremetalCommands = []struct{ words, options string }{
	{"allocation create", "candidate-node extra name node owner resource-class trait uuid wait"},
	{"allocation delete", ""},
	{"allocation list", "fields limit long marker node owner resource-class sort state"},
	{"allocation set", "extra name"},
	{"allocation show", "fields"},
	{"allocation unset", "extra name"},
	{"chassis create", "description extra uuid"},
	{"chassis delete", ""},
	{"chassis list", "fields limit long marker sort"},
	{"chassis set", "description extra"},
	{"chassis show", "fields"},
	{"chassis unset", "description extra"},
	{"conductor list", "fields limit long marker sort"},
	{"conductor show", "fields"},
	{"create", ""},
	{"deploy template create", "extra steps uuid"},
	{"deploy template delete", ""},
	{"deploy template list", "fields limit long marker sort"},
	{"deploy template set", "extra name steps"},
	{"deploy template show", "fields"},
	{"deploy template unset", "extra"},
	{"driver list", "fields long type"},
	{"driver passthru call", "arg http-method"},
	{"driver passthru list", ""},
	{"driver property list", ""},
	{"driver raid property list", ""},
	{"driver show", "fields"},
	{"inspection rule create", "actions conditions description phase priority sensitive uuid"},
	{"inspection rule delete", ""},
	{"inspection rule list", "fields limit long marker sort"},
	{"inspection rule set", "actions conditions description phase priority"},
	{"inspection rule show", "fields"},
	{"inspection rule unset", "action condition description phase priority"},
	{"node abort", ""},
	{"node add trait", ""},
	{"node adopt", "wait"},
	{"node bios setting list", "fields long"},
	{"node bios setting show", ""},
	{"node boot device set", "persistent"},
	{"node boot device show", "supported"},
	{"node boot mode set", ""},
	{"node children list", ""},
	{"node clean", "clean-steps disable-ramdisk runbook wait"},
	{"node console disable", ""},
	{"node console enable", ""},
	{"node console show", ""},
	{"node create", "automated-clean bios-interface boot-interface chassis-uuid conductor-group console-interface deploy-interface description disable-power-off driver driver-info extra firmware-interface inspect-interface instance-name lessee management-interface name network-data network-interface no-automated-clean owner parent-node power-interface property raid-interface rescue-interface resource-class shard storage-interface uuid vendor-interface"},
	{"node delete", ""},
	{"node deploy", "config-drive deploy-steps wait"},
	{"node firmware list", ""},
	{"node history get", ""},
	{"node history list", "long"},
	{"node inject nmi", ""},
	{"node inspect", "wait"},
	{"node inventory save", "file"},
	{"node list", "associated chassis conductor conductor-group description-contains driver fault fields include-children instance-name lessee limit long maintenance marker no-maintenance no-retired owner parent-node provision-state resource-class retired sharded shards sort unassociated unsharded"},
	{"node maintenance set", "reason"},
	{"node maintenance unset", ""},
	{"node manage", "wait"},
	{"node passthru call", "arg http-method"},
	{"node passthru list", ""},
	{"node power off", "power-timeout soft"},
	{"node power on", "power-timeout"},
	{"node provide", "wait"},
	{"node reboot", "power-timeout soft"},
	{"node rebuild", "config-drive deploy-steps wait"},
	{"node remove trait", "all"},
	{"node rescue", "rescue-password wait"},
	{"node secure boot off", ""},
	{"node secure boot on", ""},
	{"node service", "disable-ramdisk runbook service-steps wait"},
	{"node set", "automated-clean bios-interface boot-interface chassis-uuid conductor-group console-interface deploy-interface description disable-power-off driver driver-info enable-power-off extra firmware-interface inspect-interface instance-info instance-name instance-uuid lessee management-interface name network-data network-interface no-automated-clean owner parent-node power-interface property protected protected-reason raid-interface rescue-interface reset-bios-interface reset-boot-interface reset-console-interface reset-deploy-interface reset-firmware-interface reset-inspect-interface reset-interfaces reset-management-interface reset-network-interface reset-power-interface reset-raid-interface reset-rescue-interface reset-storage-interface reset-vendor-interface resource-class retired retired-reason shard storage-interface target-raid-config vendor-interface"},
	{"node show", "fields instance"},
	{"node trait add", ""},
	{"node trait list", ""},
	{"node trait remove", "all"},
	{"node undeploy", "wait"},
	{"node unhold", ""},
	{"node unrescue", "wait"},
	{"node unset", "automated-clean bios-interface boot-interface chassis-uuid conductor-group console-interface deploy-interface description driver-info extra firmware-interface inspect-interface instance-info instance-name instance-uuid lessee management-interface name network-data network-interface owner parent-node power-interface property protected protected-reason raid-interface rescue-interface resource-class retired retired-reason shard storage-interface target-raid-config vendor-interface"},
	{"node validate", ""},
	{"node vif attach", "port-uuid portgroup-uuid vif-info"},
	{"node vif detach", ""},
	{"node vif list", ""},
	{"port create", "category description extra is-smartnic local-link-connection name node physical-network port-group pxe-enabled uuid vendor"},
	{"port delete", ""},
	{"port group create", "address category extra mode name node physical-network property support-standalone-ports unsupport-standalone-ports uuid"},
	{"port group delete", ""},
	{"port group list", "address fields limit long marker node shards sort"},
	{"port group set", "address category extra mode name node physical-network property support-standalone-ports unsupport-standalone-ports"},
	{"port group show", "address fields"},
	{"port group unset", "address category extra name physical-network property"},
	{"port list", "address fields limit long marker node port-group sort"},
	{"port set", "address category description extra is-smartnic local-link-connection name node physical-network port-group pxe-disabled pxe-enabled vendor"},
	{"port show", "address fields"},
	{"port unset", "category description extra is-smartnic local-link-connection name physical-network port-group vendor"},
	{"runbook create", "description disable-ramdisk extra name owner public steps uuid"},
	{"runbook delete", ""},
	{"runbook list", "fields limit long marker sort"},
	{"runbook set", "description disable-ramdisk extra name owner public steps"},
	{"runbook show", "fields"},
	{"runbook trait add", ""},
	{"runbook trait list", ""},
	{"runbook trait remove", "all"},
	{"runbook unset", "description disable-ramdisk extra name owner public"},
	{"shard list", ""},
	{"volume connector create", "connector-id extra node type uuid"},
	{"volume connector delete", ""},
	{"volume connector list", "fields limit long marker node sort"},
	{"volume connector set", "connector-id extra node type"},
	{"volume connector show", "fields"},
	{"volume connector unset", "extra"},
	{"volume target create", "boot-index extra node property type uuid volume-id"},
	{"volume target delete", ""},
	{"volume target list", "fields limit long marker node sort"},
	{"volume target set", "boot-index extra node property type volume-id"},
	{"volume target show", "fields"},
	{"volume target unset", "extra property"}}

// outputOptions are those that all commands have that print a list, or one
// object. Left out are --fit-width and --print-empty, whose effects tables have
// anyhow, and --quote: CSV is quoted where it has to be.
var outputOptions = map[string]string{
	"list": "format column noindent max-width sort-column sort-ascending sort-descending",
	"show": "format column noindent max-width prefix",
}

// TestWordsOfBaremetal holds ferric's commands against those of the baremetal
// client.
func TestWordsOfBaremetal(t *testing.T) {
	root := newRoot(strings.NewReader(""), io.Discard, io.Discard)
	for _, tt := range baremetalCommands {
		cmd := commandOf(root, tt.words)
		if cmd == nil {
			t.Errorf("ferric %s: there is no such command", tt.words)
			continue
		}
		last := tt.words[strings.LastIndex(tt.words, " ")+1:]
		if tt.words == "node children list" {
			last = "show" // it prints one object
		}
		options := strings.Fields(tt.options + " " + outputOptions[last])
		if last == "create" && tt.words != "create" {
			options = append(options, strings.Fields(outputOptions["show"])...)
		}
		for _, option := range options {
			if cmd.Flag(option) == nil {
				t.Errorf("ferric %s: there is no --%s", tt.words, option)
			}
		}
	}
}

// commandOf finds the command with exactly those words.
func commandOf(root *cobra.Command, words string) *cobra.Command {
	cmd := root
	for _, word := range strings.Fields(words) {
		i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
		if i < 0 {
			return nil
		}
		cmd = cmd.Commands()[i]
	}
	return cmd
}
