package ipa

import (
	"fmt"
	"testing"
)

func TestErrorText(t *testing.T) {
	tests := []struct {
		err  *Error
		want string
	}{
		{ImageWrite.New("disk %s is full", "sda"), "Error writing image to device: disk sda is full"},
		{ImageWrite.New(""), "Error writing image to device"},
		{ProtectedDevice.New("protected VMFS volume on %s", "/dev/sda"), "protected VMFS volume on /dev/sda"},
	}
	for _, test := range tests {
		if got := test.err.Error(); got != test.want {
			t.Errorf("Error() = %q; want %q", got, test.want)
		}
	}
	if e := ProtectedDevice.New("x on y"); e.Message != "x on y" || e.Details != "x on y" {
		t.Errorf("protected device = %+v; want the details as message", e)
	}
	if wrapped := fmt.Errorf("step: %w", ImageWrite.New("x")); !ImageWrite.Is(wrapped) || ImageDownload.Is(wrapped) {
		t.Error("Is does not look through wrapping")
	}
}
