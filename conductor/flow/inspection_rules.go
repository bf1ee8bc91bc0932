package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/conductor/inspection"
	"ferric/conductor/inspection/rules"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// rulesTimeout ends rules that call other systems for too long.
const rulesTimeout = 5 * time.Minute

// applyRules runs the inspection rules over what the hooks have left. The
// subject is changed when all of them went well only.
func (f *Flow) applyRules(ctx context.Context, t *task.Task, s *inspection.Subject) error {
	rows, err := f.store.InspectionRules(ctx, store.Query{})
	if err != nil {
		return err
	}
	var list []rules.Rule
	if f.cfg.BuiltInRules != "" {
		if list, err = rules.Load(f.cfg.BuiltInRules); err != nil {
			return fmt.Errorf("[inspection_rules]built_in_rules: %w", err)
		}
	}
	if len(rows)+len(list) == 0 {
		return nil
	}
	for _, r := range rows {
		list = append(list, rules.Rule{UUID: r.UUID, Priority: r.Priority, Sensitive: r.Sensitive, Conditions: r.Conditions, Actions: r.Actions})
	}
	subject, err := f.ruleSubject(s)
	if err != nil {
		return err
	}
	before, err := f.ruleSubject(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rulesTimeout)
	defer cancel()
	env := rules.Environment{MaskSecrets: f.cfg.MaskSecrets, Call: rules.Get, Log: func(level, text string) {
		l, err := logrus.ParseLevel(strings.Replace(level, "critical", "error", 1))
		if err != nil {
			l = logrus.InfoLevel
		}
		t.Log.Log(l, text)
	}}
	if err := rules.Apply(ctx, list, subject, env); err != nil {
		return err
	}
	return f.takeOver(ctx, s, before, subject)
}

// ruleSubject makes what rules look at: copies of everything as plain JSON,
// with the secrets of the node, for what is changed is written back.
func (f *Flow) ruleSubject(s *inspection.Subject) (*rules.Subject, error) {
	subject := &rules.Subject{}
	shown := f.cfg.NodeView(s.Node, true)
	for name, at := range ruleAttributes(s.Node) {
		shown[name] = at
	}
	err := errors.Join(plain(shown, &subject.Node), plain(s.Data.Inventory, &subject.Inventory), plain(s.Data.PluginData, &subject.PluginData))
	for _, p := range s.Ports {
		shown := f.cfg.PortView(p)
		for name, at := range portAttributes(p) {
			shown[name] = at
		}
		var port map[string]any
		err = errors.Join(err, plain(shown, &port))
		subject.Ports = append(subject.Ports, port)
	}
	return subject, err
}

// plain copies a value into what JSON makes of it.
func plain(v any, to *map[string]any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if *to == nil {
		*to = map[string]any{}
	}
	return err
}

// ruleAttributes are those of a node that rules may change.
func ruleAttributes(n *store.Node) map[string]any {
	return map[string]any{
		"name": &n.Name, "description": &n.Description, "driver": &n.Driver, "driver_info": &n.DriverInfo, "properties": &n.Properties,
		"instance_info": &n.InstanceInfo, "extra": &n.Extra, "network_data": &n.NetworkData, "resource_class": &n.ResourceClass,
		"conductor_group": &n.ConductorGroup, "owner": &n.Owner, "lessee": &n.Lessee, "shard": &n.Shard, "traits": &n.Traits,
		"automated_clean": &n.AutomatedClean, "disable_power_off": &n.DisablePowerOff, "retired": &n.Retired, "retired_reason": &n.RetiredReason,
		"maintenance": &n.Maintenance, "maintenance_reason": &n.MaintenanceReason, "boot_mode": &n.BootMode, "secure_boot": &n.SecureBoot,
		"bios_interface": &n.BIOSInterface, "boot_interface": &n.BootInterface, "console_interface": &n.ConsoleInterface, "deploy_interface": &n.DeployInterface,
		"firmware_interface": &n.FirmwareInterface, "inspect_interface": &n.InspectInterface, "management_interface": &n.ManagementInterface,
		"network_interface": &n.NetworkInterface, "power_interface": &n.PowerInterface, "raid_interface": &n.RAIDInterface,
		"rescue_interface": &n.RescueInterface, "storage_interface": &n.StorageInterface, "vendor_interface": &n.VendorInterface,
	}
}

// portAttributes are those of a port that rules may change.
func portAttributes(p *store.Port) map[string]any {
	return map[string]any{
		"name": &p.Name, "pxe_enabled": &p.PXEEnabled, "local_link_connection": &p.LocalLinkConnection, "physical_network": &p.PhysicalNetwork,
		"is_smartnic": &p.IsSmartNIC, "description": &p.Description, "vendor": &p.Vendor, "category": &p.Category, "extra": &p.Extra,
	}
}

// nodeName is the form of names (REST contract, section 3.3): what a machine says
// of itself may become one.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9\-._~]{1,255}$`)

// takeOver writes what rules have changed into the rows.
func (f *Flow) takeOver(ctx context.Context, s *inspection.Subject, before, after *rules.Subject) error {
	n := *s.Node
	if err := writeChanged(ruleAttributes(&n), before.Node, after.Node, "the node"); err != nil {
		return err
	}
	if err := rules.CheckTraits(n.Traits); err != nil {
		return err
	}
	if n.Name != nil && (s.Node.Name == nil || *s.Node.Name != *n.Name) {
		if !nodeName.MatchString(*n.Name) || uuid.Validate(*n.Name) == nil { // which would be taken for that of another node
			return fmt.Errorf("%.100q cannot be the name of a node", *n.Name)
		}
		if _, err := f.store.Node(ctx, *n.Name); !errors.Is(err, store.ErrNotFound) {
			return errors.Join(err, fmt.Errorf("a node with name %s already exists", *n.Name))
		}
	}
	if err := f.drivers.SetDefaults(&n); err != nil { // refuses drivers and interfaces that are none
		return err
	}
	ports := make([]store.Port, len(s.Ports))
	for i, p := range s.Ports {
		ports[i] = *p
		if err := writeChanged(portAttributes(&ports[i]), before.Ports[i], after.Ports[i], "port "+p.UUID); err != nil {
			return err
		}
	}
	*s.Node = n
	for i, p := range s.Ports {
		*p = ports[i]
	}
	s.Data.PluginData = after.PluginData
	return nil
}

// writeChanged puts the attributes that differ into their places.
func writeChanged(places, before, after map[string]any, what string) error {
	for name, value := range after {
		if reflect.DeepEqual(value, before[name]) {
			continue
		}
		place, known := places[name]
		if !known {
			return fmt.Errorf("inspection rules cannot change %s of %s", name, what)
		}
		at := reflect.ValueOf(place).Elem()
		fresh := reflect.New(at.Type())
		b, err := json.Marshal(value)
		if err == nil {
			err = json.Unmarshal(b, fresh.Interface())
		}
		if err != nil {
			return fmt.Errorf("inspection rules set %s of %s to a value of the wrong kind: %w", name, what, err)
		}
		at.Set(fresh.Elem())
	}
	return nil
}
