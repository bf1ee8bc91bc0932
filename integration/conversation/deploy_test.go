package conversation_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"
	"golang.org/x/sync/errgroup"

	"ferric/integration/conversation"
	"ferric/integration/lab"
	"ferric/integration/osimage"
)

// powerOffLimit is how long Ironic waits after standby.power_off, six times five seconds.
const powerOffLimit = 30 * time.Second

// smallImage is the operating system that is deployed.
func smallImage(t *testing.T) *osimage.Image {
	t.Helper()
	cache := os.Getenv("FERRIC_IMAGES")
	if cache == "" {
		cache = t.TempDir()
	}
	image, err := osimage.Build(t.Context(), osimage.Options{CacheDir: cache})
	must(t, err)
	return image
}

// configDrive is base64 of the gzipped ISO 9660 image, as Ironic renders it.
func configDrive(t *testing.T, files map[string]string) string {
	t.Helper()
	w, err := iso9660.NewWriter()
	must(t, err)
	defer w.Cleanup()
	for name, content := range files {
		must(t, w.AddFile(strings.NewReader(content), name))
	}
	var text bytes.Buffer
	encoder := base64.NewEncoder(base64.StdEncoding, &text)
	zipped := gzip.NewWriter(encoder)
	must(t, w.WriteTo(zipped, "config-2"))
	must(t, errors.Join(zipped.Close(), encoder.Close()))
	return text.String()
}

// inspectAndDeploy is inspection and, on fast track, the direct deploy of Ironic 29 on a UEFI machine: TLS, the token
// on every request, the pinned certificate, and then the disk boots.
func inspectAndDeploy(t *testing.T) {
	image := smallImage(t)
	const mac = "52:54:00:77:00:07"
	ctx, s := open(t, conversation.SiteOptions{
		Release: conversation.Ironic29(), ImageDir: filepath.Dir(image.Raw.Path), Params: inspectionParams(mac),
		Node: lab.NodeConfig{
			Firmware: lab.UEFI, MAC: mac, MemoryMiB: 512, Disks: []lab.Disk{{Kind: lab.SCSI}}, Arguments: inspectionArguments(),
		},
	})
	switching, stop := context.WithCancel(ctx)
	var neighbours errgroup.Group
	neighbours.Go(func() error { return neighbour(switching, "tap0") })
	// An agent that is too early: the node is not yet in "inspect wait"; later it is locked.
	s.Refuse(conversation.Inspect, 404, 500)
	s.Refuse(conversation.Lookup, 409)
	boot(t, ctx, s)
	stop()
	must(t, neighbours.Wait())
	inspected(t, ctx, s)
	pinned(t, s)
	lookups := s.Calls(conversation.Lookup)
	if got := lookups[len(lookups)-1].Query.Get("node_uuid"); got != s.Node["uuid"] {
		t.Errorf("lookup after inspection is for node %q, want the one of the answer", got)
	}

	logs, err := s.DirectDeploy(ctx, conversation.Image{
		URL: s.ImageURL(image.Raw.Path), SHA256: image.Raw.SHA256, Format: "raw", Stream: true,
		ConfigDrive: configDrive(t, map[string]string{
			"openstack/latest/meta_data.json": `{"uuid": "u", "hostname": "deployed", "name": "other"}`,
			"openstack/latest/user_data":      osimage.UserData("n0nce", false),
		}),
	})
	must(t, err)
	off(t, s, powerOffLimit)
	checkLogs(t, logs)
	golden(t, s, "deploy")

	mark := s.Machine.Console.Mark()
	must(t, s.Machine.SetSelector(lab.SelectDisk))
	must(t, s.Machine.PowerOn())
	for _, want := range []string{"hostname=deployed", "nonce=n0nce", "disk-serial=machine-disk0", "firmware=uefi"} {
		_, err := s.Machine.Console.WaitFor(ctx, mark, regexp.MustCompile("ferric-os: "+want))
		must(t, err)
	}
}

// checkLogs looks at an answer of collect_system_logs: an archive with at least these members.
func checkLogs(t *testing.T, answer json.RawMessage) {
	t.Helper()
	var result struct {
		Logs []byte `json:"system_logs"` // base64
	}
	must(t, json.Unmarshal(answer, &result))
	zipped, err := gzip.NewReader(bytes.NewReader(result.Logs))
	must(t, err)
	var names []string
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		names = append(names, header.Name)
	}
	for _, want := range []string{"journal", "dmesg", "ps"} {
		if !slices.Contains(names, want) {
			t.Errorf("the logs have no %s, only %v", want, names)
		}
	}
}
