package netboot

import "github.com/insomniacslk/dhcp/iana"

// arch is a client's architecture in the words of Ironic.
type arch struct {
	cpu  string // x86_64, i386, aarch64, arm, …; empty if unknown
	mode string // bios, uefi, or another firmware's name
}

func (a arch) String() string { return a.cpu + "-" + a.mode }

// archType is a row of IANA's registry "Processor Architecture Types", which
// DHCPv4 option 93 (RFC 4578) and DHCPv6 option 61 (RFC 5970) share.
type archType struct {
	arch
	http bool // fetches its boot file by HTTP
}

// archTypes is the whole registry, by its numbers. 9 is "EBC" by RFC 4578 and by
// its erratum, but x86-64 firmware and iPXE send it too, and no EBC firmware is
// known; 17 is its HTTP form. Which of them are booted depends on there being a
// boot loader for them (firstFile).
var archTypes = [...]archType{
	0:  {arch{"x86_64", "bios"}, false},
	1:  {arch{"i386", "pc98"}, false},
	2:  {arch{"ia64", "uefi"}, false},
	3:  {arch{"alpha", "srm"}, false},
	4:  {arch{"i386", "arc"}, false},
	5:  {arch{"i386", "lean"}, false},
	6:  {arch{"i386", "uefi"}, false},
	7:  {arch{"x86_64", "uefi"}, false},
	8:  {arch{"xscale", "uefi"}, false},
	9:  {arch{"x86_64", "uefi"}, false},
	10: {arch{"arm", "uefi"}, false},
	11: {arch{"aarch64", "uefi"}, false},
	12: {arch{"ppc64", "openfirmware"}, false},
	13: {arch{"ppc64", "epapr"}, false},
	14: {arch{"ppc64le", "opal"}, false},
	15: {arch{"i386", "uefi"}, true},
	16: {arch{"x86_64", "uefi"}, true},
	17: {arch{"x86_64", "uefi"}, true},
	18: {arch{"arm", "uefi"}, true},
	19: {arch{"aarch64", "uefi"}, true},
	20: {arch{"x86_64", "bios"}, true},
	21: {arch{"arm", "uboot"}, false},
	22: {arch{"aarch64", "uboot"}, false},
	23: {arch{"arm", "uboot"}, true},
	24: {arch{"aarch64", "uboot"}, true},
	25: {arch{"riscv32", "uefi"}, false},
	26: {arch{"riscv32", "uefi"}, true},
	27: {arch{"riscv64", "uefi"}, false},
	28: {arch{"riscv64", "uefi"}, true},
	29: {arch{"riscv128", "uefi"}, false},
	30: {arch{"riscv128", "uefi"}, true},
	31: {arch{"s390x", "basic"}, false},
	32: {arch{"s390x", "extended"}, false},
	33: {arch{"mips", "uefi"}, false},
	34: {arch{"mips64", "uefi"}, false},
	35: {arch{"sunway32", "uefi"}, false},
	36: {arch{"sunway64", "uefi"}, false},
	37: {arch{"loongarch32", "uefi"}, false},
	38: {arch{"loongarch32", "uefi"}, true},
	39: {arch{"loongarch64", "uefi"}, false},
	40: {arch{"loongarch64", "uefi"}, true},
	41: {arch{"aarch64", "rpiboot"}, false},
}

// rpiBoot is what a Raspberry Pi is, whose boot ROM says that it is an x86 BIOS.
const rpiBoot iana.Arch = 41

// archOf chooses among the architectures that a client names, in its order of
// preference: the first of the registry that fetches as the client does, by HTTP
// or not, else the first of the registry. A client that names none is an x86 BIOS.
func archOf(codes iana.Archs, http bool) (archType, error) {
	if len(codes) == 0 {
		return archTypes[0], nil
	}
	var found *archType
	for _, code := range codes {
		if int(code) >= len(archTypes) {
			continue
		}
		t := &archTypes[code]
		if t.http == http {
			return *t, nil
		}
		if found == nil {
			found = t
		}
	}
	if found == nil {
		return archType{}, unanswered("its architecture type %d is not one of the registry", codes[0])
	}
	return *found, nil
}
