package clients_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOpenStackCommand runs commands of the same client as a part of
// python-openstackclient, which is another way to log in and to negotiate.
func TestOpenStackCommand(t *testing.T) {
	t.Parallel()
	if suites() == "" {
		return
	}
	c := startConductor(t, "")
	home := t.TempDir()
	for _, call := range []struct {
		args []string
		want string
	}{
		{[]string{"node", "create", "--driver", "fake-hardware", "--name", "unified"}, `{"name": "unified", "provision_state": "enroll"}`},
		{[]string{"node", "list", "--fields", "name", "driver"}, `[{"name": "unified", "driver": "fake-hardware"}]`},
		{[]string{"conductor", "show", "clients"}, `{"alive": true}`},
		{[]string{"driver", "list"}, `[{"name": "ipmi"}]`},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(suites(), "python", "bin", "openstack"), append(append([]string{"baremetal"}, call.args...), "-f", "json")...)
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "OS_AUTH_TYPE=none", "OS_ENDPOINT=" + c.endpoint}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openstack baremetal %v: %v\n%s", call.args, err, out)
		}
		var got, want any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("openstack baremetal %v: %v in %q", call.args, err, out)
		}
		if err := json.Unmarshal([]byte(call.want), &want); err != nil {
			t.Fatal(err)
		}
		if why := lacks(byField(got), want); why != "" {
			t.Errorf("openstack baremetal %v: %s in\n%s", call.args, why, out)
		}
	}
}
