package generic

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/tree"
)

// injection is a file to write or to delete.
type injection struct {
	path       string // absolute, clean
	number     int    // of the partition on the root device, 0 if not given
	device     string // with the file system, "" if not given
	deleted    bool
	content    string // base64
	url        string // of the content, if not ""
	attributes tree.Attributes
}

// Bounds of what a file system of Linux stores: the longest path (linux/limits.h,
// PATH_MAX) and name, all permissions, and the largest user ID but the one that
// says "unchanged".
const (
	maxPath  = 4095
	maxName  = 255
	maxMode  = 0o7777
	maxOwner = math.MaxUint32 - 1
)

// injections are the files of the node and of the step. Whatever is wrong with
// any of them is in the error, of kind ipa.InvalidCommandParams: nothing is
// changed unless all can be understood. Content is not in it.
func injections(call hwmanager.StepCall) (files []injection, verify bool, err error) {
	v := &validation{node: call.Node, ports: call.Ports}
	verify = true
	switch value := call.Args["verify_ca"].(type) {
	case nil:
	case bool:
		verify = value
	default:
		v.fail("verify_ca must be a boolean")
	}
	properties, err := object(call.Node, "properties")
	if err != nil {
		v.fail("%v", err)
	}
	files = append(v.list("properties.inject_files", properties["inject_files"]), v.list("files", call.Args["files"])...)
	if len(v.failures) > 0 {
		return nil, false, ipa.InvalidCommandParams.New("Validation of files failed: %s", strings.Join(v.failures, "; "))
	}
	return files, verify, nil
}

// validation collects what is wrong.
type validation struct {
	node     hwmanager.Node
	ports    []map[string]any
	failures []string
}

func (v *validation) fail(format string, args ...any) {
	v.failures = append(v.failures, fmt.Sprintf(format, args...))
}

func (v *validation) list(where string, value any) []injection {
	items, ok := value.([]any)
	if !ok {
		if value != nil {
			v.fail("%s must be a list of objects", where)
		}
		return nil
	}
	files := make([]injection, len(items))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", where, i)
		fields, ok := item.(map[string]any)
		if !ok {
			v.fail("%s must be an object", at)
			continue
		}
		files[i] = v.item(at, fields)
	}
	return files
}

// item reads one file. A member that is null counts as absent.
func (v *validation) item(at string, fields map[string]any) (f injection) {
	known := []string{"path", "partition", "deleted", "content", "mode", "dirmode", "owner", "group"}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, key) {
			v.fail("%s: unexpected field %.64q", at, key)
		}
	}
	f.number, f.device = v.partition(at, fields["partition"])
	f.path = v.path(at, fields["path"], fields["partition"] != nil)
	deleted, ok := fields["deleted"].(bool)
	if !ok && fields["deleted"] != nil {
		v.fail("%s: deleted must be a boolean", at)
	}
	f.deleted = deleted
	v.content(at, fields["content"], &f)
	f.attributes.Mode = permissions(v.number(at, "mode", fields["mode"], maxMode))
	f.attributes.DirMode = permissions(v.number(at, "dirmode", fields["dirmode"], maxMode))
	f.attributes.Owner = v.owner(at, "owner", fields["owner"])
	f.attributes.Group = v.owner(at, "group", fields["group"])
	return f
}

func (v *validation) path(at string, value any, placed bool) string {
	text, ok := value.(string)
	switch {
	case value == nil || text == "" && ok:
		v.fail("%s: path is missing", at)
	case !ok:
		v.fail("%s: path must be a string", at)
	case !path.IsAbs(text):
		v.fail("%s: path %.64q must be absolute", at, text)
	case strings.HasSuffix(text, "/"):
		v.fail("%s: path %.64q is that of a directory", at, text)
	case slices.Contains(strings.Split(text, "/"), ".."):
		v.fail("%s: path %.64q must not go up (..)", at, text)
	case strings.HasSuffix(text, "/."):
		v.fail("%s: path %.64q is that of a directory", at, text)
	case strings.Contains(text, "\x00"), len(text) > maxPath, slices.ContainsFunc(strings.Split(text, "/"), func(name string) bool { return len(name) > maxName }):
		v.fail("%s: path %.64q cannot be one: it is too long, or has a NUL", at, text)
	case path.Dir(path.Clean(text)) == "/" && !placed:
		v.fail("%s: path %.64q, in the root directory, needs a partition", at, text)
	}
	return path.Clean(text)
}

// partition is a number on the root device, or the path of a device.
func (v *validation) partition(at string, value any) (number int, device string) {
	text, isText := value.(string)
	number, err := strconv.Atoi(fmt.Sprint(value)) // a number of JSON or the same as text
	switch {
	case value == nil:
		return 0, ""
	case err == nil && number > 0:
		return number, ""
	case isText && strings.HasPrefix(text, "/dev/") && path.Clean(text) == text:
		return 0, text
	}
	v.fail("%s: partition must be a number from 1 on or the path of a device", at)
	return 0, ""
}

func (v *validation) content(at string, value any, f *injection) {
	text, ok := value.(string)
	switch {
	case !ok && value != nil:
		v.fail("%s: content must be a string", at)
	case value == nil && !f.deleted:
		v.fail("%s: content is missing", at)
	case f.deleted && text != "":
		v.fail("%s: content cannot be used with deleted", at)
	case strings.Contains(text, "://"):
		url, err := contentURL(text, v.node, v.ports)
		if err != nil {
			v.fail("%s: content: %v", at, err)
		}
		f.url = url
	default:
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			v.fail("%s: content is neither base64 nor a URL: %v", at, err)
		}
		f.content = text
	}
}

// number is nil if there is none.
func (v *validation) number(at, key string, value any, most int64) *int64 {
	if value == nil {
		return nil
	}
	var n int64
	err := fmt.Errorf("is a %T", value)
	switch value := value.(type) {
	case json.Number:
		n, err = value.Int64()
	case float64:
		if n = int64(value); float64(n) == value {
			err = nil
		}
	case int:
		n, err = int64(value), nil
	}
	switch {
	case err != nil && most == maxMode:
		v.fail("%s: %s must be a number (0644 is 420)", at, key)
		return nil
	case err != nil:
		v.fail("%s: %s must be a number", at, key)
		return nil
	case n < 0 || n > most:
		v.fail("%s: %s must be a number from 0 to %d", at, key, most)
		return nil
	}
	return &n
}

// owner is a user or group ID; -1 leaves it as it is (chown(2)).
func (v *validation) owner(at, key string, value any) *int {
	if value != nil && fmt.Sprint(value) == "-1" {
		if _, isText := value.(string); !isText {
			return nil
		}
	}
	n := v.number(at, key, value, maxOwner)
	if n == nil {
		return nil
	}
	id := int(*n)
	return &id
}

func permissions(n *int64) *uint32 {
	if n == nil {
		return nil
	}
	mode := uint32(*n)
	return &mode
}
