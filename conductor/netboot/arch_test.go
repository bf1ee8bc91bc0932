package netboot

import (
	"testing"

	"github.com/insomniacslk/dhcp/iana"
)

// The names of the registry, as the library has them, agree with ours; and every
// number has a row.
func TestArchitecturesOfTheRegistry(t *testing.T) {
	for code := range archTypes {
		row := archTypes[code]
		if row.cpu == "" || row.mode == "" {
			t.Errorf("architecture type %d has no name", code)
		}
		name := iana.Arch(code).String()
		if http := len(name) > 4 && name[len(name)-4:] == "HTTP"; name != "unknown" && http != row.http {
			t.Errorf("%d (%s) is by HTTP: %t; want %t", code, name, row.http, http)
		}
	}
	if len(archTypes) != 42 {
		t.Errorf("%d architecture types; the registry has 42", len(archTypes))
	}
}

func TestArchitectureOfSeveral(t *testing.T) {
	for _, tc := range []struct {
		name  string
		codes iana.Archs
		http  bool
		want  string
		fails bool
	}{
		{"none", nil, false, "x86_64-bios", false},
		{"EBC, which is x86-64", iana.Archs{9}, false, "x86_64-uefi", false},
		{"the client's own order", iana.Archs{7, 0}, false, "x86_64-uefi", false},
		{"one that is not of the registry first", iana.Archs{999, 11}, false, "aarch64-uefi", false},
		{"HTTP preferred by an HTTP client", iana.Archs{7, 16}, true, "x86_64-uefi", false},
		{"by TFTP for a PXE client", iana.Archs{19, 11}, false, "aarch64-uefi", false},
		{"not of the registry", iana.Archs{999}, false, "-", true},
	} {
		got, err := archOf(tc.codes, tc.http)
		if got.String() != tc.want || (err != nil) != tc.fails {
			t.Errorf("%s: %v, %v; want %s", tc.name, got, err, tc.want)
		}
	}
	if got, _ := archOf(iana.Archs{7, 16}, true); !got.http {
		t.Error("an HTTP client that names both is not served by HTTP")
	}
}
