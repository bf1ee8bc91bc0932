package netboot

import (
	"errors"
	"fmt"
)

// errNotOffered says that what the machine is to boot is not for this firmware,
// which is to go on to another way of booting.
var errNotOffered = errors.New("not offered")

// firstFile is what a client of DHCP is told to load: a name for TFTP, or with
// http a path below http_url.
func (s *settings) firstFile(c client, m Machine) (name string, http bool, err error) {
	if c.ipxe && m.ipxe() {
		return "boot.ipxe", true, nil
	}
	httpOnly := m.Loader == LoaderHTTP || m.Loader == LoaderHTTPIPXE
	if httpOnly && !c.http && !c.ipxe {
		return "", false, fmt.Errorf("%w: the boot interface of the node is %s, and this is the firmware's PXE: let it boot by HTTP", errNotOffered, m.Loader)
	}
	name, err = s.bootFile(c.arch, m)
	return name, c.http || httpOnly, err
}

// bootFile is the name of a machine's boot loader for a kind of firmware.
func (s *settings) bootFile(a arch, m Machine) (string, error) {
	if m.Bootloader != "" {
		return m.Bootloader, nil
	}
	option, byArch, name := "ipxe_bootfile_name", s.IPXEBootfileNameByArch, ""
	if !m.ipxe() {
		option, byArch = "pxe_bootfile_name", s.PXEBootfileNameByArch
	}
	for _, key := range []string{a.String(), a.cpu} {
		if name = byArch[key]; name != "" {
			return name, nil
		}
	}
	switch {
	case a.cpu != "x86_64":
	case m.ipxe() && a.mode == "bios":
		name = s.IPXEBootfileName
	case m.ipxe():
		name = s.UEFIIPXEBootfileName
	case a.mode == "bios":
		name = s.PXEBootfileName
	case m.SecureBoot:
		name = s.SecureBootBootfileName
	default:
		name = s.UEFIPXEBootfileName
	}
	if name == "" {
		return "", fmt.Errorf("no boot loader is configured for %v clients: set [pxe]%s_by_arch", a, option)
	}
	return name, nil
}
