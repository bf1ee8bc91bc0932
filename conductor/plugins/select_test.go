package plugins_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/plugins"
	"ferric/conductor/store"
)

// TestSelect is the table of who is offered what.
func TestSelect(t *testing.T) {
	type list []*store.Plugin
	v := func(name, version string, change ...func(p *store.Plugin)) *store.Plugin {
		p := &store.Plugin{Name: name, Version: version}
		for _, c := range change {
			c(p)
		}
		return p
	}
	drivers := func(names ...string) func(*store.Plugin) { return func(p *store.Plugin) { p.Drivers = names } }
	traits := func(names ...string) func(*store.Plugin) { return func(p *store.Plugin) { p.Traits = names } }
	vendor := func(text string) func(*store.Plugin) { return func(p *store.Plugin) { p.Vendor = text } }
	pinned, disabled := func(p *store.Plugin) { p.Pinned = true }, func(p *store.Plugin) { p.Disabled = true }
	node := plugins.Subject{Driver: "ipmi", Traits: []string{"CUSTOM_A", "CUSTOM_B"}}
	of := func(vendor string) plugins.Subject { s := node; s.Vendor = vendor; return s }
	for name, c := range map[string]struct {
		list list
		node plugins.Subject
		want []string
	}{
		"none":                           {nil, node, nil},
		"any node":                       {list{v("a", "1.0.0")}, node, []string{"a 1.0.0"}},
		"its driver":                     {list{v("a", "1.0.0", drivers("redfish", "ipmi"))}, node, []string{"a 1.0.0"}},
		"another driver":                 {list{v("a", "1.0.0", drivers("redfish"))}, node, nil},
		"a classic driver":               {list{v("a", "1.0.0", drivers("pxe_ipmitool"))}, node, []string{"a 1.0.0"}},
		"a driver whose name begins so":  {list{v("a", "1.0.0", drivers("ipm"))}, node, nil},
		"its traits":                     {list{v("a", "1.0.0", traits("CUSTOM_B", "CUSTOM_A"))}, node, []string{"a 1.0.0"}},
		"one of them is missing":         {list{v("a", "1.0.0", traits("CUSTOM_A", "CUSTOM_C"))}, node, nil},
		"driver right, traits wrong":     {list{v("a", "1.0.0", drivers("ipmi"), traits("CUSTOM_C"))}, node, nil},
		"vendor not known":               {list{v("a", "1.0.0", vendor("Acme"))}, node, []string{"a 1.0.0"}},
		"vendor in another case":         {list{v("a", "1.0.0", vendor("acme"))}, of("ACME Inc."), []string{"a 1.0.0"}},
		"another vendor":                 {list{v("a", "1.0.0", vendor("acme"))}, of("Other Ltd."), nil},
		"the newest":                     {list{v("a", "1.9.0"), v("a", "1.10.0"), v("a", "1.2.0")}, node, []string{"a 1.10.0"}},
		"a release is newer than its rc": {list{v("a", "1.0.0"), v("a", "1.0.0-rc.9")}, node, []string{"a 1.0.0"}},
		"the newest that matches":        {list{v("a", "1.0.0"), v("a", "2.0.0", drivers("redfish"))}, node, []string{"a 1.0.0"}},
		"disabled":                       {list{v("a", "1.0.0"), v("a", "2.0.0", disabled)}, node, []string{"a 1.0.0"}},
		"all disabled":                   {list{v("a", "1.0.0", disabled)}, node, nil},
		"pinned":                         {list{v("a", "1.0.0", pinned), v("a", "2.0.0")}, node, []string{"a 1.0.0"}},
		"pinned, but for others":         {list{v("a", "1.0.0", pinned, drivers("redfish")), v("a", "2.0.0")}, node, nil},
		"pinned and disabled":            {list{v("a", "1.0.0", pinned, disabled), v("a", "2.0.0")}, node, nil},
		"several, by name":               {list{v("c", "1.0.0"), v("a", "1.0.0"), v("b", "1.0.0", disabled)}, node, []string{"a 1.0.0", "c 1.0.0"}},
	} {
		var got []string
		for _, p := range plugins.Select(c.list, c.node) {
			got = append(got, p.Name+" "+p.Version)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestSubject: driver, traits and, where an inspection told it, the vendor are
// those of the row.
func TestSubject(t *testing.T) {
	r := newRig(t)
	if _, err := r.add(bundle(t, "acme", "1.0.0", 10, key(1)), plugins.Addition{Drivers: []string{"ipmi"}, Traits: []string{"CUSTOM_A"}, Vendor: "acme"}); err != nil {
		t.Fatal(err)
	}
	n := &store.Node{UUID: "u", Driver: "ipmi", Traits: store.Strings{"CUSTOM_A"}}
	if err := r.store.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		inventory string
		want      int
	}{
		{"", 1},
		{`{"system_vendor": {"manufacturer": "Other Ltd."}}`, 0},
		{`{"system_vendor": {"manufacturer": "ACME Inc."}}`, 1},
		{`{"system_vendor": {"manufacturer": ""}}`, 1},
		{`{"system_vendor": {"manufacturer": 7}}`, 0},
		{`{"system_vendor": null}`, 1},
		{`{}`, 1},
	} {
		if c.inventory != "" {
			if err := r.store.SetInventory(t.Context(), n.ID, store.Inventory{Inventory: []byte(c.inventory), PluginData: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		offered, err := r.Offered(t.Context(), n.ID)
		if err != nil || len(offered) != c.want {
			t.Errorf("with %s %d are offered, %v; want %d", c.inventory, len(offered), err, c.want)
		}
		// What is not offered cannot be fetched either.
		if _, err := r.For(t.Context(), n.ID, "acme", "1.0.0"); (err == nil) != (c.want == 1) {
			t.Errorf("with %s it is fetched: %v", c.inventory, err)
		}
	}
}
