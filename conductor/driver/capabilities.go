package driver

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Capabilities reads capabilities in any of their three shapes: an object, the
// JSON text of one, or "key:value,key:value". What cannot be read is left out.
func Capabilities(v any) map[string]string {
	caps := map[string]string{}
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			caps[key] = strings.ToLower(fmt.Sprint(value))
		}
	case string:
		var object map[string]any
		if json.Unmarshal([]byte(v), &object) == nil {
			return Capabilities(object)
		}
		for pair := range strings.SplitSeq(v, ",") {
			if key, value, ok := strings.Cut(pair, ":"); ok {
				caps[strings.TrimSpace(key)] = strings.ToLower(strings.TrimSpace(value))
			}
		}
	}
	return caps
}
