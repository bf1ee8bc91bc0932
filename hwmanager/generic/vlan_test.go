package generic

import (
	"strings"
	"testing"

	"ferric/api/ipa"
)

func TestWantedVLANs(t *testing.T) {
	interfaces := []ipa.Interface{
		{Name: "eth0", MACAddress: "52:54:00:12:34:01", LLDP: elements()},
		{Name: "eth0.100", MACAddress: "52:54:00:12:34:01"},
		{Name: "eth1", MACAddress: "52:54:00:12:34:02", LLDP: []ipa.TLV{}},
	}
	tests := []struct {
		items    string
		lldp     bool
		want     string
		problems string
	}{
		{"eth1.7", false, "eth1.7", ""},
		{"52:54:00:12:34:02.7,eth1.7", false, "eth1.7", ""},
		{"52:54:00:12:34:01.7", false, "eth0.7", ""},
		{"eth0", true, "eth0.100 eth0.4094", ""},
		{"all", true, "eth0.100 eth0.4094", ""},
		{"eth1", true, "", ""},
		{"all", false, "", "collect_lldp is off"},
		{"eth9.7", true, "", "no such interface"},
		{"eth9", true, "", "no such interface"},
		{"eth1.0", true, "", `"0" is no VLAN`},
		{"eth1.4095", true, "", `"4095" is no VLAN`},
		{"eth1.x", true, "", `"x" is no VLAN`},
		{"eth1.", true, "", `"" is no VLAN`},
	}
	for _, test := range tests {
		wanted, problems := wantedVLANs(strings.Split(test.items, ","), interfaces, test.lldp)
		var names []string
		for _, v := range wanted {
			names = append(names, v.name())
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: VLANs %q; want %q", test.items, got, test.want)
		}
		switch {
		case test.problems == "" && len(problems) > 0:
			t.Errorf("%s: problems %v", test.items, problems)
		case test.problems != "" && (len(problems) != 1 || !strings.Contains(problems[0].Error(), test.problems)):
			t.Errorf("%s: problems %v; want %q", test.items, problems, test.problems)
		}
	}
}
