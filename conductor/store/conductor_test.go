package store

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestConductorsAreFresh: what is kept of conductors in memory does not
// outlive their change.
func TestConductorsAreFresh(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db.sqlite"))
	online := func() []bool {
		all, err := s.Conductors(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var on []bool
		for _, c := range all {
			on = append(on, c.Online)
		}
		clear(all) // the caller's own
		return on
	}
	for _, step := range []struct {
		do   func() error
		want []bool
	}{
		{func() error { return nil }, nil},
		{func() error { return s.RegisterConductor(t.Context(), "one", "", nil) }, []bool{true}},
		{func() error { return s.RegisterConductor(t.Context(), "two", "", nil) }, []bool{true, true}},
		{func() error { return s.UnregisterConductor(t.Context(), "one") }, []bool{false, true}},
		{func() error { return s.TouchConductor(t.Context(), "one") }, []bool{true, true}},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := online(); !slices.Equal(got, step.want) {
				t.Errorf("online: %v; want %v", got, step.want)
			}
		}
	}
}
