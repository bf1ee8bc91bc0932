package store

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Settings and components that stay the same keep their times, others are
// updated, and those that are not given go. All go with the node.
func TestSettings(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := &Node{UUID: "u", Driver: "fake-hardware", ProvisionState: "enroll"}
	if err := s.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	text := func(v string) *string { return &v }
	setting := func(name, value string) BIOSSetting {
		return BIOSSetting{Name: name, Value: text(value), AllowableValues: &Strings{"on", "off"}}
	}
	for _, list := range [][]BIOSSetting{{setting("same", "on"), setting("changed", "on"), setting("gone", "on")}, {setting("same", "on"), setting("changed", "off"), setting("new", "on")}} {
		if err := s.SetBIOSSettings(t.Context(), n.ID, list); err != nil {
			t.Fatal(err)
		}
	}
	settings, err := s.BIOSSettings(t.Context(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, v := range settings {
		got[v.Name] = *v.Value
		if updated := v.UpdatedAt != nil; updated != (v.Name == "changed") {
			t.Errorf("setting %s was updated: %v", v.Name, updated)
		}
	}
	if diff := cmp.Diff(map[string]string{"same": "on", "changed": "off", "new": "on"}, got); diff != "" {
		t.Error(diff)
	}
	for _, version := range []string{"1", "2"} {
		if err := s.SetFirmwareComponents(t.Context(), n.ID, []FirmwareComponent{{Component: "bios", InitialVersion: version, CurrentVersion: text(version)}}); err != nil {
			t.Fatal(err)
		}
	}
	components, err := s.FirmwareComponents(t.Context(), n.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := []*FirmwareComponent{{NodeID: n.ID, Component: "bios", InitialVersion: "1", CurrentVersion: text("2")}}
	if diff := cmp.Diff(want, components, cmpopts.IgnoreFields(FirmwareComponent{}, "CreatedAt", "UpdatedAt")); diff != "" {
		t.Error(diff)
	}
	if err := s.DeleteNode(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	settings, err = s.BIOSSettings(t.Context(), n.ID)
	if err != nil || len(settings) != 0 {
		t.Errorf("settings of a node that is gone: %v, %v", settings, err)
	}
}
