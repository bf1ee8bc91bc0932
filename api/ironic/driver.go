package ironic

import "encoding/json"

// Driver is a hardware type that live conductors offer (REST contract,
// section 7).
type Driver struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"` // "dynamic"
	Hosts      []string `json:"hosts"`
	Links      []Link   `json:"links"`
	Properties []Link   `json:"properties"`

	// Interfaces is the detailed form, by interface ("boot", "deploy", …). On
	// the wire it is default_<interface>_interface and
	// enabled_<interface>_interfaces; nil in the short form.
	Interfaces map[string]DriverInterface `json:"-"`
}

// DriverInterface names the implementations of one interface.
type DriverInterface struct {
	Default string
	Enabled []string // sorted
}

// Drivers is the list of all drivers, without pages.
type Drivers struct {
	Drivers []Driver `json:"drivers"`
}

// DriverInterfaces are the interfaces of a hardware type.
func DriverInterfaces() []string {
	return []string{"bios", "boot", "console", "deploy", "firmware", "inspect", "management",
		"network", "power", "raid", "rescue", "storage", "vendor"}
}

// MarshalJSON writes the interfaces beside the other members.
func (d Driver) MarshalJSON() ([]byte, error) {
	members := map[string]any{"name": d.Name, "type": d.Type, "hosts": d.Hosts, "links": d.Links, "properties": d.Properties}
	for name, i := range d.Interfaces {
		members["default_"+name+"_interface"] = i.Default
		members["enabled_"+name+"_interfaces"] = i.Enabled
	}
	return json.Marshal(members)
}

// UnmarshalJSON reads both forms.
func (d *Driver) UnmarshalJSON(data []byte) error {
	type short Driver
	if err := json.Unmarshal(data, (*short)(d)); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	d.Interfaces = nil
	for _, name := range DriverInterfaces() {
		enabled, ok := members["enabled_"+name+"_interfaces"]
		if !ok {
			continue
		}
		var i DriverInterface
		if err := json.Unmarshal(enabled, &i.Enabled); err != nil {
			return err
		}
		if text, ok := members["default_"+name+"_interface"]; ok {
			if err := json.Unmarshal(text, &i.Default); err != nil {
				return err
			}
		}
		if d.Interfaces == nil {
			d.Interfaces = map[string]DriverInterface{}
		}
		d.Interfaces[name] = i
	}
	return nil
}
