package netboot

import (
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// ErrScript marks data of a node that would break its boot script.
var ErrScript = errors.New("not fit for a boot script")

type scripts struct {
	*template.Template
}

func parseScripts() scripts {
	return scripts{template.Must(template.ParseFS(templateFiles, "templates/*"))}
}

// boot is the first stage, the same for all machines.
func (t scripts) boot(fallback string) (string, error) {
	return t.render("boot.ipxe", struct{ FallbackScript string }{fallback})
}

// machine is the script of one machine. base is the URL of the HTTP service and
// mac the address in the form 52-54-00-12-34-56; it goes along in the URLs, so
// that whoever answers them need not remember anything.
func (t scripts) machine(m Machine, base, mac string, timeout time.Duration) (string, error) {
	node, dir := scriptText(strings.TrimSpace(m.NodeUUID+" "+m.Name)), m.NodeUUID
	if dir == "" { // nobody's machine yet
		node, dir = "of nobody, "+mac, mac
	}
	switch m.Action {
	case LocalDisk:
		return t.render("localdisk.ipxe", struct{ Node string }{node})
	case BootISO:
		iso := base + "/" + dir + "/boot_iso?mac=" + mac
		if isURL(m.ISO) {
			iso = m.ISO
		}
		if !scriptWord(iso) {
			return "", fmt.Errorf("%w: the ISO URL %q has spaces or control characters", ErrScript, iso)
		}
		return t.render("iso.ipxe", struct{ Node, ISO string }{node, iso})
	case Ramdisk:
	default:
		return "", fmt.Errorf("%w: there is no script for the action %q", ErrScript, m.Action)
	}
	data := struct{ Node, Timeout, Kernel, Ramdisk, Params string }{Node: node}
	if timeout > 0 {
		data.Timeout = fmt.Sprintf("--timeout %d ", timeout.Milliseconds())
	}
	for _, part := range []struct {
		what, ref, name string
		url             *string
	}{
		{"kernel", m.Kernel, "deploy_kernel", &data.Kernel},
		{"ramdisk", m.Ramdisk, "deploy_ramdisk", &data.Ramdisk},
	} {
		if part.ref == "" {
			return "", fmt.Errorf("%w: node %s has no %s", ErrScript, m.NodeUUID, part.what)
		}
		*part.url = base + "/" + dir + "/" + part.name + "?mac=" + mac
		if isURL(part.ref) {
			*part.url = part.ref
		}
		if !scriptWord(*part.url) {
			return "", fmt.Errorf("%w: the %s URL %q has spaces or control characters", ErrScript, part.what, *part.url)
		}
	}
	words := strings.Fields(m.Params)
	if i := slices.IndexFunc(words, func(w string) bool { return w == "||" || w == "&&" || !scriptWord(w) }); i >= 0 {
		return "", fmt.Errorf("%w: kernel parameter %q of node %s", ErrScript, words[i], m.NodeUUID)
	}
	if len(words) > 0 {
		data.Params = " " + strings.Join(words, " ")
	}
	return t.render("ramdisk.ipxe", data)
}

func (t scripts) render(name string, data any) (string, error) {
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("render %s: %w", name, err)
	}
	return b.String(), nil
}

// scriptWord tells whether text is one word of an iPXE command, which has no quoting.
func scriptWord(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// scriptText makes a comment of text that may come from anywhere.
func scriptText(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '$' {
			return '_'
		}
		return r
	}, text)
}
