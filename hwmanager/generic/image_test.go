package generic

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/configdrive"
)

// TestImageIsRefused wants disks that erasing would leave alone to be left
// alone by images too.
func TestImageIsRefused(t *testing.T) {
	gfs2 := []byte{0x01, 0x16, 0x19, 0x70}
	skip := hwmanager.Node{"properties": map[string]any{"skip_block_devices": []any{map[string]any{"serial": "LAB-SATA-1"}}}}
	permitted := hwmanager.Node{"driver_info": map[string]any{"wipe_special_filesystems": true}}
	tests := []struct {
		name    string
		content []byte // at the place of a GFS2 superblock
		node    hwmanager.Node
		refusal ipa.Kind
	}{
		{"protected contents", gfs2, nil, ipa.ProtectedDevice},
		{"protected contents that may go", gfs2, permitted, ipa.ImageDownload},
		{"a disk to skip", nil, skip, ipa.ProtectedDevice},
		{"any other disk", nil, nil, ipa.ImageDownload},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := lab(t)
			server := httptest.NewServer(http.NotFoundHandler())
			defer server.Close()
			disks, err := New().BlockDevices(t.Context(), h, false)
			if err != nil {
				t.Fatal(err)
			}
			var sdb ipa.BlockDevice
			for _, d := range disks {
				if d.Name == "/dev/sdb" {
					sdb = d
				}
			}
			write(t, filepath.Join(h.Dev, "sdb"), gfs2Offset, test.content)
			info := ipa.ImageInfo{ID: "i", URLs: []string{server.URL}, DiskFormat: "raw", OSHashAlgo: "sha256", OSHashValue: "00"}
			_, err = New().WriteImage(context.Background(), h, sdb, info, "", test.node, func(ipa.Progress) {})
			if !test.refusal.Is(err) {
				t.Errorf("error = %v; want %s", err, test.refusal.Type)
			}
		})
	}
}

func TestConfigDriveIsTooLarge(t *testing.T) {
	h := lab(t)
	drive := strings.Repeat("A", (configdrive.MaxSize+2<<20)/3*4)
	_, err := New().WriteImage(t.Context(), h, ipa.BlockDevice{Name: "/dev/sdb"}, ipa.ImageInfo{ID: "i"}, drive, nil, func(ipa.Progress) {})
	if !ipa.Deployment.Is(err) || !strings.Contains(err.Error(), "configdrive has more than 64 MiB") {
		t.Errorf("error = %v; want a DeploymentError naming configdrive", err)
	}
}
