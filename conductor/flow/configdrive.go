package flow

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/kdomanski/iso9660"

	"ferric/conductor/task"
)

// configDriveLabel is the volume label that cloud-init and others look for.
const configDriveLabel = "config-2"

// renderConfigDrive turns a config drive that was given as an object
// {meta_data, user_data, network_data, vendor_data} into what an agent takes:
// base64 of a gzipped ISO 9660 image (deploy flow, section 5). A string, which
// is that already or a URL, stays.
func (f *Flow) renderConfigDrive(t *task.Task) error {
	object, ok := t.Node.InstanceInfo["configdrive"].(map[string]any)
	if !ok {
		return nil
	}
	meta, ok := object["meta_data"].(map[string]any)
	if !ok {
		meta = map[string]any{}
	}
	for key, value := range map[string]any{"uuid": t.Node.UUID, "name": t.Node.Label(), "hostname": t.Node.Label()} {
		if _, ok := meta[key]; !ok {
			meta[key] = value
		}
	}
	files := map[string]any{"meta_data.json": meta}
	for key, name := range map[string]string{"user_data": "user_data", "network_data": "network_data.json", "vendor_data": "vendor_data2.json"} {
		if v, ok := object[key]; ok && v != nil {
			files[name] = v
		}
	}
	drive, err := buildConfigDrive(files)
	if err != nil {
		return fmt.Errorf("build the config drive of node %s: %w", t.Node.UUID, err)
	}
	t.Node.InstanceInfo["configdrive"] = drive
	return nil
}

// buildConfigDrive makes the image. Text goes in as it is, anything else as
// JSON.
func buildConfigDrive(files map[string]any) (string, error) {
	w, err := iso9660.NewWriter()
	if err != nil {
		return "", err
	}
	defer w.Cleanup()
	for name, content := range files {
		data, err := fileContent(content)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if err := w.AddFile(bytes.NewReader(data), "openstack/latest/"+name); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	var text bytes.Buffer
	encoder := base64.NewEncoder(base64.StdEncoding, &text)
	zip := gzip.NewWriter(encoder)
	if err := w.WriteTo(zip, configDriveLabel); err != nil {
		return "", err
	}
	if err := zip.Close(); err != nil {
		return "", err
	}
	if err := encoder.Close(); err != nil {
		return "", err
	}
	return text.String(), nil
}

func fileContent(v any) ([]byte, error) {
	if s, ok := v.(string); ok {
		return []byte(s), nil
	}
	return json.Marshal(v)
}
