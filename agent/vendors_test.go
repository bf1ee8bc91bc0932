package agent

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// suits is a manager for every machine.
type suits struct{}

func (suits) Name() string      { return "suits" }
func (suits) ClassName() string { return "Suits" }
func (suits) Version() string   { return "1" }
func (suits) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Generic, nil
}

// TestMake sets aside what a vendor's package fails to make; the others go on.
func TestMake(t *testing.T) {
	var nothing map[string]int
	tests := map[string]struct {
		make func() hwmanager.Manager
		says string
	}{
		"example.org/panics": {func() hwmanager.Manager { panic("where is my card") }, "New of example.org/panics: panic: where is my card ("},
		"example.org/fault":  {func() hwmanager.Manager { nothing["x"] = 1; return suits{} }, "vendors_test.go:"},
		"example.org/nil":    {func() hwmanager.Manager { return nil }, "New of example.org/nil: it returns nil"},
	}
	managers := []hwmanager.Manager{}
	for pkg, test := range tests {
		managers = append(managers, Make(pkg, test.make))
	}
	managers = append(managers, Make("example.org/good", func() hwmanager.Manager { return suits{} }))
	fake, err := hwmtest.Empty()
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	set, err := hwmanager.Load(t.Context(), fake.Host, managers)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(set.Versions()); got != "map[suits:1]" {
		t.Errorf("managers that go on: %s", got)
	}
	for pkg, test := range tests {
		if reason := set.SetAside()[pkg]; !strings.Contains(reason, test.says) {
			t.Errorf("%s is set aside with %q; want %q", pkg, reason, test.says)
		}
	}
}
