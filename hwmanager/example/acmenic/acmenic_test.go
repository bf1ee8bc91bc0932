package acmenic

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

func TestConformance(t *testing.T) {
	hwmtest.Run(t, New, hwmtest.OnHost("../host"))
}

// TestUpdate takes the card from 1.0.0 to 1.1.0, with a reboot in between.
func TestUpdate(t *testing.T) {
	fake := hwmtest.New(t, "../host")
	image := "ACMENIC 1.1.0\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, image) }))
	defer server.Close()
	set, err := hwmanager.Load(t.Context(), fake.Host, []hwmanager.Manager{New()})
	if err != nil {
		t.Fatal(err)
	}
	update := func(call hwmanager.StepCall) (any, error) {
		return set.RunStep(t.Context(), fake.Host, hwmanager.Clean, "update_acme_nic", call)
	}
	args := map[string]any{"url": server.URL, "version": "1.1.0", "checksum": fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("another image")))}
	if _, err := update(hwmanager.StepCall{Args: args}); err == nil || !strings.Contains(err.Error(), "digest") && !strings.Contains(err.Error(), "checksum") {
		t.Errorf("an image with another digest: %v", err)
	}
	args["checksum"] = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(image)))
	_, err = update(hwmanager.StepCall{Args: args})
	var reboot *hwmanager.Reboot
	if !errors.As(err, &reboot) || reboot.State != "1.0.0" {
		t.Fatalf("the update ends with %v; want a reboot that keeps the version before, 1.0.0", err)
	}
	if _, err := update(hwmanager.StepCall{Args: args, Resume: []byte(`"1.0.0"`)}); err == nil || !strings.Contains(err.Error(), "has version 1.0.0 after the update, not 1.1.0") {
		t.Errorf("a reboot that changed nothing: %v", err)
	}
	if _, err := fake.Host.Run.Run(t.Context(), "acmenic", "reboot"); err != nil {
		t.Fatal(err)
	}
	result, err := update(hwmanager.StepCall{Args: args, Resume: []byte(`"1.0.0"`)})
	if got := fmt.Sprintf("%s", result); err != nil || got != "map[after:1.1.0 before:\"1.0.0\"]" {
		t.Errorf("after the reboot: %s, %v", got, err)
	}
	if _, err := update(hwmanager.StepCall{Args: args}); err != nil {
		t.Errorf("once more, with nothing to do: %v", err)
	}
}
