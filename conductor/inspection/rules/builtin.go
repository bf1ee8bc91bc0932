package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

// maxBuiltIn bounds a file of rules in bytes.
const maxBuiltIn = 1 << 20

// Load reads the rules of a YAML file, a list of rules as the API has them: they
// go along with those of the API, and nobody changes them there. Each needs a
// name of its own as its uuid. Rules of another phase than main are refused.
func Load(path string) ([]Rule, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxBuiltIn {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), maxBuiltIn)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var document any
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	plain, err := json.Marshal(document) // numbers are those of JSON then
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var list []struct {
		UUID       string
		Priority   int
		Sensitive  bool
		Phase      string
		Conditions []map[string]any
		Actions    []map[string]any
	}
	if err := json.Unmarshal(plain, &list); err != nil {
		return nil, fmt.Errorf("%s is no list of rules: %w", path, err)
	}
	var rules []Rule
	seen := map[string]bool{}
	for i, r := range list {
		err := Check(r.Conditions, r.Actions)
		switch {
		case r.UUID == "" || seen[r.UUID]:
			err = errors.New("uuid has to be a name that no other rule has")
		case r.Phase != "" && r.Phase != "main":
			err = fmt.Errorf("phase is %q, there is only main", r.Phase)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: rule %d: %w", path, i+1, err)
		}
		seen[r.UUID] = true
		rules = append(rules, Rule{r.UUID, r.Priority, r.Sensitive, r.Conditions, r.Actions})
	}
	return rules, nil
}
