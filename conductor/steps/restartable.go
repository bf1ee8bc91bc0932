package steps

import (
	"slices"

	"ferric/api/ipa"
)

// Repeatable are the steps of stock agents that may be begun again when they
// were cut off in the middle, by a machine that lost its power: each begins with
// everything that it is about to change, and ends with the same, however far it
// came before. Making arrays and flashing firmware are not among them: what is
// half done there may not bear a second try. A hardware manager says it of its
// own steps with the property "restartable". Literal table.
var Repeatable = []string{
	"deploy.erase_devices",
	"deploy.erase_devices_metadata",
	"deploy.erase_devices_express",
	"deploy.erase_pstore",
	"deploy.write_image",
	"deploy.execute_bootc_install",
	"deploy.inject_files",
	"deploy.burnin_cpu",
	"deploy.burnin_disk",
	"deploy.burnin_gpu",
	"deploy.burnin_memory",
	"deploy.burnin_network",
	"raid.delete_configuration",
}

// restartable is what the agent says of its step, else what the table does.
func restartable(s ipa.Step) bool {
	if s.Restartable != nil {
		return *s.Restartable
	}
	return slices.Contains(Repeatable, s.Interface+"."+s.Step)
}
