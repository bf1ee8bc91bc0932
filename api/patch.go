package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"ferric/api/ironic"
)

// Patch is a checked JSON patch as Ironic understands it (REST contract,
// section 1.5): add, replace and remove of "/root/sub" paths.
type Patch struct {
	Operations []ironic.PatchOperation
	operations jsonpatch.Patch
}

// patchPath takes the escapes ~0 and ~1 too, which API versions before 1.98 do
// not have (Escaped).
var patchPath = regexp.MustCompile(`^(/([\p{L}\p{N}_-]|~[01])+)+$`)

// Escaped reports whether a path of the patch has ~0 for ~ or ~1 for / in it.
func (p Patch) Escaped() bool {
	return slices.ContainsFunc(p.Operations, func(op ironic.PatchOperation) bool { return strings.Contains(op.Path, "~") })
}

// ParsePatch reads the body of a PATCH request. The error is an *Error with
// status 400.
func ParsePatch(body []byte) (Patch, error) {
	bad := func(format string, args ...any) (Patch, error) {
		return Patch{}, Errorf(http.StatusBadRequest, "Invalid patch: "+format, args...)
	}
	var raw []map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil || raw == nil {
		return bad("the body is not a JSON array of objects with op, path and value")
	}
	var p Patch
	for i, members := range raw {
		for name := range members {
			if name != "op" && name != "path" && name != "value" {
				return bad("operation %d has the unknown member %q", i, name)
			}
		}
		op, err := patchOperation(members)
		if err != nil {
			return bad("operation %d %v", i, err)
		}
		p.Operations = append(p.Operations, op)
		p.operations = append(p.operations, libraryOperation(members))
	}
	return p, nil
}

func patchOperation(members map[string]json.RawMessage) (ironic.PatchOperation, error) {
	var op ironic.PatchOperation
	if json.Unmarshal(members["op"], &op.Op) != nil || !slices.Contains([]string{"add", "replace", "remove"}, op.Op) {
		return op, errors.New("needs an op that is add, replace or remove")
	}
	if json.Unmarshal(members["path"], &op.Path) != nil || !patchPath.MatchString(op.Path) {
		return op, errors.New("needs a path of the form /attribute or /attribute/key")
	}
	value, ok := members["value"]
	if !ok && op.Op != "remove" {
		return op, errors.New("needs a value to " + op.Op)
	}
	if ok && json.Unmarshal(value, &op.Value) != nil {
		return op, errors.New("has a value that is not JSON")
	}
	return op, nil
}

func libraryOperation(members map[string]json.RawMessage) jsonpatch.Operation {
	op := make(jsonpatch.Operation, len(members))
	for name, raw := range members {
		op[name] = &raw
	}
	return op
}

// Root is the attribute of the resource that an operation changes.
func Root(op ironic.PatchOperation) string {
	root, _, _ := strings.Cut(strings.TrimPrefix(op.Path, "/"), "/")
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(root)
}

// Roots lists the attributes that the patch touches, each once, in order.
func (p Patch) Roots() []string {
	var roots []string
	seen := map[string]bool{}
	for _, op := range p.Operations {
		if root := Root(op); !seen[root] {
			seen[root] = true
			roots = append(roots, root)
		}
	}
	return roots
}

// Apply changes doc, which holds every patchable attribute (null where it has
// no value), and returns the outcome; a removed attribute is not in it. The
// error is an *Error with status 400.
func (p Patch) Apply(doc map[string]any) (map[string]any, error) {
	before, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	options := jsonpatch.NewApplyOptions()
	options.SupportNegativeIndices = false
	after, err := p.operations.ApplyWithOptions(before, options)
	if err != nil {
		return nil, Errorf(http.StatusBadRequest, "Couldn't apply patch '%s'. Reason: %v", p, err)
	}
	var out map[string]any
	if err := json.NewDecoder(bytes.NewReader(after)).Decode(&out); err != nil {
		return nil, Errorf(http.StatusBadRequest, "Couldn't apply patch '%s'. Reason: the outcome is no longer an object: %v", p, err)
	}
	return out, nil
}

// maxPatchText bounds how much of a patch an error repeats.
const maxPatchText = 256

// String names the operations without their values, which may be secrets.
func (p Patch) String() string {
	var b strings.Builder
	for i, op := range p.Operations {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > maxPatchText {
			b.WriteString("…")
			break
		}
		b.WriteString(op.Op + " " + op.Path)
	}
	return b.String()
}
