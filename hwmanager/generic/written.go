package generic

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images"
)

// writtenImage is what was written last, and how often its disk had been
// written to then.
type writtenImage struct {
	mu     sync.Mutex
	what   string // all that makes a difference
	writes string
	result *hwmanager.ImageResult
}

// already is the result of the last image if that is the wanted one, on this
// disk and as it was asked for now, and nothing has been written to the disk
// since (agent contract, section "prepare_image": an image that was written is
// not written again). Erasing counts as writing.
func (m *Manager) already(h *hwmanager.Host, device ipa.BlockDevice, info ipa.ImageInfo, configDrive string, node hwmanager.Node) *hwmanager.ImageResult {
	m.written.mu.Lock()
	defer m.written.mu.Unlock()
	last := &m.written
	what, ok := identity(h, device, info, configDrive, node)
	if last.result == nil || !ok || last.what != what || last.writes == "" || last.writes != diskWrites(h, last.result) {
		last.result = nil // it is about to be overwritten
		return nil
	}
	return last.result
}

func (m *Manager) remember(h *hwmanager.Host, device ipa.BlockDevice, info ipa.ImageInfo, configDrive string, node hwmanager.Node, result *hwmanager.ImageResult) {
	what, ok := identity(h, device, info, configDrive, node)
	if !ok {
		return
	}
	m.written.mu.Lock()
	defer m.written.mu.Unlock()
	m.written.what, m.written.writes, m.written.result = what, diskWrites(h, result), result
}

// identity is a digest of what a deployment depends on; ok is false where the
// content of the image or of the config drive may be another next time.
func identity(h *hwmanager.Host, device ipa.BlockDevice, info ipa.ImageInfo, configDrive string, node hwmanager.Node) (what string, ok bool) {
	digest := info.OSHashValue
	if digest == "" {
		digest = info.Checksum
	}
	if strings.Contains(digest, "://") || strings.Contains(configDrive, "://") {
		return "", false
	}
	var layout images.Layout
	if info.ImageType == ipa.PartitionImage {
		layout = layoutOf(h, info, node)
	}
	all, err := json.Marshal([]any{device, info.ID, strings.ToLower(digest), info.OSHashAlgo, info.DiskFormat, info.DeployBootMode, info.EphemeralFormat, layout})
	if err != nil {
		return "", false
	}
	sum := sha256.New()
	sum.Write(all)
	// In pieces, without WriteTo: that would copy a config drive of 64 MiB.
	if _, err := io.Copy(sum, struct{ io.Reader }{strings.NewReader(configDrive)}); err != nil {
		return "", false
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), true
}

// diskWrites tells the kernel's counts of sectors written to and discarded from
// the disk of a result, "" if it has none (linux, Documentation/block/stat.rst).
// Requests are not counted: a flush is one, too.
func diskWrites(h *hwmanager.Host, result *hwmanager.ImageResult) string {
	// What is in caches counts only when it is on the disk.
	for _, name := range append(slices.Collect(maps.Values(result.Partitions)), result.Device) {
		if flushBuffers(h.DevicePath(name)) != nil {
			return ""
		}
	}
	text, err := os.ReadFile(filepath.Join(h.Sys, "class/block", filepath.Base(result.Device), "stat"))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(text))
	if len(fields) < 15 {
		return ""
	}
	return fields[6] + " " + fields[13]
}
