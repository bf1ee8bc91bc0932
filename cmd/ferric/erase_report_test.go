package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
)

func eraseReport(t *testing.T, reports []ipa.EraseReport, args ...string) (string, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ferric/v1/nodes/n1/erase_report" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(ipa.EraseReports{Reports: reports})
	}))
	defer server.Close()
	cmd := newEraseReportCommand(&connection{api: server.URL})
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestEraseReport(t *testing.T) {
	at := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	reports := []ipa.EraseReport{
		{Step: "erase_devices", Start: at, End: at.Add(time.Hour), Error: "/dev/sdb: input/output error", Devices: []ipa.DeviceErase{
			{Device: "/dev/sda", Model: "DISK\x1b[2J", Serial: "S1", WWN: "0x5000c500", Size: 1 << 30, Outcome: ipa.EraseDone, Method: ipa.MethodOverwrite, Start: at, End: at.Add(90 * time.Second),
				Attempts: []ipa.EraseAttempt{
					{Method: ipa.MethodATA, Outcome: ipa.EraseUnsupported, Detail: "no security feature set"},
					{Method: ipa.MethodOverwrite, Outcome: ipa.EraseDone, Verified: &ipa.EraseCheck{Samples: 64, Expected: ipa.ExpectZeros, Direct: true}},
				}},
			{Device: "/dev/sdb", Outcome: ipa.EraseFailed, Method: ipa.MethodOverwrite, Reason: "input/output error"},
		}},
		{Step: "erase_devices_metadata"},
	}
	text, err := eraseReport(t, reports, "n1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-01-02T12:00:00Z to 2026-01-02T13:00:00Z: failed", "DISK?[2J", "S1", "0x5000c500", "1m30s", "64 of 64 samples: zeros",
		"/dev/sdb failed: input/output error", "/dev/sda ATA security erase: not supported no security feature set"} {
		if !strings.Contains(text, want) {
			t.Errorf("output lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") || strings.Contains(text, "erase_devices_metadata") {
		t.Errorf("output holds control characters or earlier reports:\n%s", text)
	}
	text, err = eraseReport(t, reports, "n1", "--json", "--all")
	var got ipa.EraseReports
	if err != nil || json.Unmarshal([]byte(text), &got) != nil || len(got.Reports) != 2 {
		t.Errorf("as JSON: %v\n%s", err, text)
	}
	if _, err := eraseReport(t, nil, "n1"); err == nil || !strings.Contains(err.Error(), "n1") {
		t.Errorf("a node without reports: %v", err)
	}
	if _, err := eraseReport(t, nil, "n2"); err == nil {
		t.Error("an unknown node has reports")
	}
}
