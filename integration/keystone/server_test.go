package keystone_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"ferric/integration/lab"
)

// TestMain runs the tests in namespaces of their own: ports are free, and what
// a test starts ends with them.
func TestMain(m *testing.M) { lab.Main(m) }

const (
	keystonePort = 5000
	ferricPort   = 6385
	password     = "s3cret"
	startLimit   = 60 * time.Second
)

// keystone is a running one.
type keystone struct {
	t     *testing.T
	url   string
	token string // of the system's administrator
	stop  func()
}

const keystoneConf = `[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///%[1]s/keystone.sqlite
sqlite_synchronous = false
[token]
provider = fernet
[fernet_tokens]
key_repository = %[1]s/fernet
[credential]
key_repository = %[1]s/credential
[identity]
password_hash_rounds = 4
`

// startKeystone makes a Keystone with a database and keys of its own, and
// serves it on loopback until the test ends.
func startKeystone(t *testing.T) *keystone {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "keystone.conf")
	for _, name := range []string{"fernet", "credential"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, keystoneConf, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/v3", keystonePort)
	letReadersBe(t, filepath.Join(dir, "keystone.sqlite"))
	owner := []string{"--keystone-user", me.Username, "--keystone-group", group.Name}
	for _, args := range [][]string{
		{"db_sync"},
		append([]string{"fernet_setup"}, owner...),
		append([]string{"credential_setup"}, owner...),
		{"bootstrap", "--bootstrap-password", password, "--bootstrap-region-id", "RegionOne", "--bootstrap-public-url", url, "--bootstrap-admin-url", url, "--bootstrap-internal-url", url},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		out, err := exec.CommandContext(ctx, "keystone-manage", append([]string{"--config-file", config}, args...)...).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("keystone-manage %s: %v\n%s", args[0], err, out)
		}
	}
	var log bytes.Buffer
	cmd := exec.Command("keystone-wsgi-public", "--host", "127.0.0.1", "--port", fmt.Sprint(keystonePort), "--", "--config-file", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(os.Environ(), "OS_KEYSTONE_CONFIG_DIR="+dir, "OS_KEYSTONE_CONFIG_FILES="+config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k := &keystone{t: t, url: url}
	stopped := false
	k.stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}
	}
	t.Cleanup(func() {
		k.stop()
		if t.Failed() {
			t.Logf("Keystone's log:\n%s", &log)
		}
	})
	await(t, url)
	k.token = k.login("admin", "", "")
	return k
}

// letReadersBe makes a database that can be written while others read it, as
// Keystone does within one request: without this it finds the database locked.
func letReadersBe(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "PRAGMA journal_mode=WAL")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// await waits until something answers.
func await(t *testing.T, url string) {
	t.Helper()
	deadline := time.Now().Add(startLimit)
	for {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", url, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

type object = map[string]any

// call makes a request to Keystone that has to be answered with status.
func (k *keystone) call(status int, method, path string, body any) (answer object, header http.Header) {
	k.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		k.t.Fatal(err)
	}
	if body == nil {
		b = nil
	}
	req, err := http.NewRequestWithContext(k.t.Context(), method, k.url+path, bytes.NewReader(b))
	if err != nil {
		k.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if k.token != "" {
		req.Header.Set("X-Auth-Token", k.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		k.t.Fatalf("%s %s: %d %s %v, want %d", method, path, resp.StatusCode, text, err, status)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			k.t.Fatal(err)
		}
	}
	return answer, resp.Header
}

// login gives a token for a project, or with "" for the system.
func (k *keystone) login(name, project, secret string) string {
	k.t.Helper()
	if secret == "" {
		secret = password
	}
	domain := object{"id": "default"}
	scope := object{"system": object{"all": true}}
	if project != "" {
		scope = object{"project": object{"name": project, "domain": domain}}
	}
	_, header := k.call(201, "POST", "/auth/tokens", object{"auth": object{"scope": scope,
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": name, "password": secret, "domain": domain}}}}})
	return header.Get("X-Subject-Token")
}

// create makes something and gives its id.
func (k *keystone) create(kind string, attributes object) string {
	k.t.Helper()
	path := "/" + kind + "s"
	answer, _ := k.call(201, "POST", path, object{kind: attributes})
	return answer[kind].(object)["id"].(string)
}

// roleIDs are those that exist, by name; missing ones are made.
func (k *keystone) roleIDs(names ...string) map[string]string {
	k.t.Helper()
	ids := map[string]string{}
	answer, _ := k.call(200, "GET", "/roles", nil)
	for _, r := range answer["roles"].([]any) {
		ids[r.(object)["name"].(string)] = r.(object)["id"].(string)
	}
	for _, name := range names {
		if ids[name] == "" {
			ids[name] = k.create("role", object{"name": name})
		}
	}
	return ids
}

// enrol makes a user with a role in a project, or with "" in the system.
func (k *keystone) enrol(name, roleID, projectID string) {
	k.t.Helper()
	id := k.create("user", object{"name": name, "password": password, "domain_id": "default"})
	path := "/system/users/" + id + "/roles/" + roleID
	if projectID != "" {
		path = "/projects/" + projectID + "/users/" + id + "/roles/" + roleID
	}
	k.call(204, "PUT", path, nil)
}

// publish has the catalogue tell where the conductor is.
func (k *keystone) publish(url string) {
	k.t.Helper()
	service := k.create("service", object{"type": "baremetal", "name": "ironic"})
	k.create("endpoint", object{"service_id": service, "interface": "public", "region_id": "RegionOne", "url": url})
}

// client runs the baremetal command, or another that has its words, as somebody.
type client struct {
	t       *testing.T
	env     []string
	program string
}

// as is a client of a user, with the scope of a project or with "" of the system.
func (k *keystone) as(name, project string) client {
	scope := "OS_SYSTEM_SCOPE=all"
	if project != "" {
		scope = "OS_PROJECT_NAME=" + project
	}
	return client{k.t, []string{"HOME=" + k.t.TempDir(), "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "OS_AUTH_TYPE=password", "OS_AUTH_URL=" + k.url,
		"OS_USERNAME=" + name, "OS_PASSWORD=" + password, "OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default",
		"OS_IDENTITY_API_VERSION=3", "OS_REGION_NAME=RegionOne", scope}, "baremetal"}
}

// run gives the output, of both kinds, and the exit status.
func (c client) run(args ...string) (out string, status int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Env = c.env
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		c.t.Fatalf("%s %s: %v\n%s", c.program, strings.Join(args, " "), err, b)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// do runs what has to succeed.
func (c client) do(args ...string) string {
	c.t.Helper()
	out, status := c.run(args...)
	if status != 0 {
		c.t.Fatalf("%s %s: status %d\n%s", c.program, strings.Join(args, " "), status, out)
	}
	return out
}
