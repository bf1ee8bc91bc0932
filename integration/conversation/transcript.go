package conversation

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"ferric/api/ipa"
)

// Exchange is one command, or one look at the list of commands, and the agent's answer. Looks while a command ran, of
// which there are more or fewer, are left out.
type Exchange struct {
	Asked  string   `json:"asked"`            // "POST standby.sync wait=true" or "GET"
	Status int      `json:"status"`           // of HTTP
	List   []string `json:"list,omitempty"`   // of GET: name and status of each command
	Answer any      `json:"answer,omitempty"` // of POST; of GET the last command
}

// Transcript returns what was said to the agent and answered, with identifiers, archives and other things that differ
// from run to run replaced by their names in angle brackets.
func (c *Conductor) Transcript() []Exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Exchange(nil), c.talk...)
}

// note adds one exchange.
func (c *Conductor) note(method, name, wait string, status int, answer json.RawMessage) {
	var value any
	if json.Unmarshal(answer, &value) != nil {
		value = string(answer)
	}
	e := Exchange{Asked: method, Status: status, Answer: normal("", value)}
	if name != "" {
		e.Asked += " " + name + " wait=" + wait
	}
	if list, ok := e.Answer.(map[string]any); ok && method == "GET" && list["commands"] != nil {
		e.Answer = nil
		commands, _ := list["commands"].([]any)
		for _, command := range commands {
			if r, ok := command.(map[string]any); ok {
				e.List = append(e.List, fmt.Sprint(r["command_name"], " ", r["command_status"]))
			}
			e.Answer = command
		}
		if len(e.List) > 0 && strings.HasSuffix(e.List[len(e.List)-1], " "+ipa.StatusRunning) {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talk = append(c.talk, e)
}

var uuidText = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

var managerVersion = regexp.MustCompile(`("[a-z_]+":)"[0-9.]+"`)

// normal replaces what differs from run to run or from image to image, and which steps there are.
func normal(key string, value any) any {
	switch key {
	case "clean_steps", "deploy_steps", "service_steps", "hardware_manager_version", "system_logs", "os_hash_value", "configdrive":
		if value == nil {
			return nil
		}
		return "<" + key + ">"
	}
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, member := range v {
			out[k] = normal(k, member)
		}
		return out
	case []any:
		out := []any{}
		for _, item := range v {
			out = append(out, normal(key, item))
		}
		return out
	case string:
		if key == "id" && uuidText.MatchString(v) {
			return "<id>"
		}
		if key == "details" {
			return managerVersion.ReplaceAllString(v, `$1"<version>"`)
		}
	}
	return value
}
