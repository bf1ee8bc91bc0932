package netboot

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// maxPXELinuxLine is the room that pxelinux has for a kernel command line.
const maxPXELinuxLine = 2048

// grubStage is GRUB's first configuration, the same for all machines. base
// stands before paths of ours on the server that GRUB was fetched from.
func (t scripts) grubStage(base string) (string, error) {
	return t.render("stage.grub", struct{ Base string }{base})
}

// bootData is what the configurations of GRUB and pxelinux are made of.
type bootData struct{ Node, Kernel, Ramdisk, ISO, Params, MAC string }

// machineDir is the directory of a machine's files: its node's UUID, or its MAC
// address if it has no node yet.
func machineDir(m Machine, mac net.HardwareAddr) string {
	if m.NodeUUID == "" {
		return hexhyp(mac)
	}
	return m.NodeUUID
}

// grub is GRUB's configuration of one machine.
func (t scripts) grub(m Machine, base string, mac net.HardwareAddr) (string, error) {
	dir := base + "/" + machineDir(m, mac)
	data := bootData{Node: nodeText(m, mac), Kernel: dir + "/deploy_kernel", Ramdisk: dir + "/deploy_ramdisk", MAC: mac.String()}
	switch m.Action {
	case LocalDisk:
		return t.render("localdisk.grub", data)
	case Ramdisk:
	case BootISO:
		return "", fmt.Errorf("%w: GRUB boots no ISO image of the network; give node %s the boot interface ipxe or http-ipxe", ErrScript, m.NodeUUID)
	default:
		return "", fmt.Errorf("%w: there is no configuration for the action %q", ErrScript, m.Action)
	}
	words, err := kernelWords(m, true)
	if err != nil {
		return "", err
	}
	for _, word := range words {
		data.Params += " '" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return t.render("ramdisk.grub", data)
}

// pxelinux is pxelinux's configuration of one machine. Its paths are relative to
// where pxelinux itself was fetched from.
func (t scripts) pxelinux(m Machine, mac net.HardwareAddr) (string, error) {
	dir := machineDir(m, mac)
	data := bootData{Node: nodeText(m, mac), Kernel: dir + "/deploy_kernel", Ramdisk: dir + "/deploy_ramdisk", ISO: dir + "/boot_iso"}
	switch m.Action {
	case LocalDisk:
		return t.render("localdisk.pxelinux", data)
	case BootISO:
		return t.render("iso.pxelinux", data)
	case Ramdisk:
	default:
		return "", fmt.Errorf("%w: there is no configuration for the action %q", ErrScript, m.Action)
	}
	words, err := kernelWords(m, false)
	if err != nil {
		return "", err
	}
	for _, word := range words {
		data.Params += " " + word
	}
	if len(data.Ramdisk)+len(data.Params) > maxPXELinuxLine-len("initrd= BOOTIF=01-52-54-00-12-34-56") {
		return "", fmt.Errorf("%w: the kernel parameters of node %s are longer than the %d characters that pxelinux takes", ErrScript, m.NodeUUID, maxPXELinuxLine)
	}
	return t.render("ramdisk.pxelinux", data)
}

func nodeText(m Machine, mac net.HardwareAddr) string {
	if m.NodeUUID == "" {
		return scriptText("of nobody, " + mac.String())
	}
	return scriptText(strings.TrimSpace(m.NodeUUID + " " + m.Name))
}

// kernelWords checks what a ramdisk needs and splits its kernel parameters. With
// unquote, words hold what stood in quotes without these, for a boot loader that
// quotes by itself, as GRUB does.
func kernelWords(m Machine, unquote bool) ([]string, error) {
	for what, ref := range map[string]string{"kernel": m.Kernel, "ramdisk": m.Ramdisk} {
		if ref == "" {
			return nil, fmt.Errorf("%w: node %s has no %s", ErrScript, m.NodeUUID, what)
		}
	}
	words := strings.Fields(m.Params)
	if unquote {
		words = quotedFields(m.Params)
	}
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if i := slices.IndexFunc(words, func(w string) bool { return strings.ContainsFunc(w, control) }); i >= 0 {
		return nil, fmt.Errorf("%w: kernel parameter %q of node %s", ErrScript, words[i], m.NodeUUID)
	}
	return words, nil
}

// quotedFields splits a kernel command line as the kernel does: at blanks that
// are not in double quotes, which go away.
func quotedFields(line string) []string {
	var words []string
	var word strings.Builder
	quoted, any := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted, any = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\r'):
			if any {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
			any = true
		}
	}
	if any {
		words = append(words, word.String())
	}
	return words
}
