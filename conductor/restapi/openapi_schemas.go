package restapi

import (
	"maps"
	"reflect"
	"slices"

	"github.com/getkin/kin-openapi/openapi3"

	"ferric/api/ipa"
	"ferric/api/ironic"
	"ferric/conductor/explain"
	"ferric/conductor/store"
)

// describedResource is what has a table of fields: its schemas are rendered from it.
type describedResource struct {
	name       string // of one
	plural     string // schema of a list
	collection string // member of the list's answer
	shown      func(v ironic.Version) *openapi3.Schema
	created    func(v ironic.Version) *openapi3.Schema // nil: it is not created by clients
	links      []string                                // members that are lists of links, besides links
}

func described[T any](name, plural, collection string, fs fields[T], row *T, created bool, links ...string) describedResource {
	r := describedResource{name: name, plural: plural, collection: collection, links: links,
		shown: func(v ironic.Version) *openapi3.Schema { return fs.schema(row, v, readOnly) }}
	if created {
		r.created = func(v ironic.Version) *openapi3.Schema { return fs.schema(row, v, onCreate) }
	}
	return r
}

// describedResources are those with tables of fields. Literal table.
var describedResources = []describedResource{
	described("Node", "Nodes", "nodes", nodeFields, new(store.Node), true, "ports", "portgroups", "states", "volume"),
	described("Port", "Ports", "ports", portFields, new(store.Port), true),
	described("Portgroup", "Portgroups", "portgroups", portgroupFields, new(store.Portgroup), true, "ports"),
	described("Chassis", "ChassisList", "chassis", chassisFields, new(store.Chassis), true, "nodes"),
	described("VolumeConnector", "VolumeConnectors", "connectors", connectorFields, new(store.VolumeConnector), true),
	described("VolumeTarget", "VolumeTargets", "targets", targetFields, new(store.VolumeTarget), true),
	described("Allocation", "Allocations", "allocations", allocationFields, new(store.Allocation), true),
	described("DeployTemplate", "DeployTemplates", "deploy_templates", templateFields, new(store.DeployTemplate), true),
	described("Runbook", "Runbooks", "runbooks", runbookFields, new(store.Runbook), true),
	described("Conductor", "Conductors", "conductors", conductorFields, &conductorRow{Conductor: new(store.Conductor)}, false),
	described("NodeHistoryEntry", "NodeHistory", "history", historyFields, new(store.History), false),
	described("BIOSSettingValue", "BIOSSettings", "bios", biosFields, new(store.BIOSSetting), false),
	described("FirmwareComponent", "FirmwareComponents", "firmware", firmwareFields, new(store.FirmwareComponent), false),
}

// bodySchema names the schema of what creates a resource.
func bodySchema(name string) string { return name + "Body" }

// schemas of everything that requests carry and answers hold, by the names that
// the routes use.
func schemas(v ironic.Version) openapi3.Schemas {
	all := openapi3.Schemas{}
	add := func(name string, schema *openapi3.Schema) { all[name] = schema.NewRef() }
	for _, r := range describedResources {
		shown := r.shown(v)
		shown.WithPropertyRef("links", ref("Links"))
		for _, name := range r.links {
			shown.WithPropertyRef(name, ref("Links"))
		}
		add(r.name, shown)
		add(r.plural, listOf(r.collection, ref(r.name)))
		if r.created != nil {
			add(bodySchema(r.name), r.created(v))
		}
	}
	for name, schema := range plainSchemas(v) {
		add(name, schema)
	}
	return all
}

func listOf(member string, item *openapi3.SchemaRef) *openapi3.Schema {
	items := openapi3.NewArraySchema()
	items.Items = item
	return openapi3.NewObjectSchema().WithProperty(member, items).WithProperty("next", openapi3.NewStringSchema()).
		WithRequired([]string{member}).WithoutAdditionalProperties()
}

func members(named map[string]*openapi3.Schema) *openapi3.Schema {
	return openapi3.NewObjectSchema().WithProperties(named)
}

func free() *openapi3.Schema { return openapi3.NewObjectSchema().WithAnyAdditionalProperties() }

func texts() *openapi3.Schema { return openapi3.NewArraySchema().WithItems(openapi3.NewStringSchema()) }

func goType[T any]() *openapi3.Schema { return typeSchema(reflect.TypeFor[T]()) }

// plainSchemas are those of answers and bodies that have no table of fields.
func plainSchemas(v ironic.Version) map[string]*openapi3.Schema {
	text, flag := openapi3.NewStringSchema, openapi3.NewBoolSchema
	links := openapi3.NewArraySchema().WithItems(anything()) // a chassis has a list in a list
	states := nodeFields.schema(new(store.Node), v, readOnly)
	maps.DeleteFunc(states.Properties, func(name string, _ *openapi3.SchemaRef) bool { return !slices.Contains(stateFields, name) })
	patch := openapi3.NewArraySchema().WithItems(members(map[string]*openapi3.Schema{
		"op": text().WithEnum("add", "replace", "remove"), "path": text(), "value": anything()}).WithRequired([]string{"op", "path"}))
	return map[string]*openapi3.Schema{
		"Error":   free(),
		"Links":   links,
		"Patch":   patch,
		"States":  states,
		"OpenAPI": free(),
		"Root":    goType[ironic.Root](),
		"V1":      free(),

		"Validation":            goType[ironic.ValidateResult](),
		"BootDevice":            goType[ironic.BootDevice](),
		"BootDevices":           members(map[string]*openapi3.Schema{"supported_boot_devices": texts()}).WithRequired([]string{"supported_boot_devices"}),
		"Traits":                members(map[string]*openapi3.Schema{"traits": texts()}).WithRequired([]string{"traits"}),
		"VIFs":                  members(map[string]*openapi3.Schema{"vifs": openapi3.NewArraySchema().WithItems(members(map[string]*openapi3.Schema{"id": text()}))}).WithRequired([]string{"vifs"}),
		"VIFBody":               free().WithProperty("id", text()).WithRequired([]string{"id"}),
		"Sensors":               members(map[string]*openapi3.Schema{"sensors": free(), "time": text(), "error": text(), "error_time": text()}).WithRequired([]string{"sensors", "time"}),
		"Console":               members(map[string]*openapi3.Schema{"console_enabled": flag(), "console_info": free().WithNullable()}).WithRequired([]string{"console_enabled"}),
		"Indicators":            members(map[string]*openapi3.Schema{"indicators": openapi3.NewArraySchema().WithItems(free())}).WithRequired([]string{"indicators"}),
		"IndicatorState":        members(map[string]*openapi3.Schema{"state": text()}),
		"VirtualMedia":          openapi3.NewArraySchema().WithItems(free()),
		"Inventory":             members(map[string]*openapi3.Schema{"inventory": free(), "plugin_data": free()}).WithRequired([]string{"inventory", "plugin_data"}),
		"BIOSSetting":           openapi3.NewObjectSchema().WithAdditionalProperties(free()),
		"Children":              members(map[string]*openapi3.Schema{"children": texts(), "links": anything()}).WithRequired([]string{"children"}),
		"Shards":                members(map[string]*openapi3.Schema{"shards": openapi3.NewArraySchema().WithItems(members(map[string]*openapi3.Schema{"name": text().WithNullable(), "count": openapi3.NewIntegerSchema()}))}),
		"Driver":                free(),
		"Drivers":               members(map[string]*openapi3.Schema{"drivers": openapi3.NewArraySchema().WithItems(free())}).WithRequired([]string{"drivers"}),
		"DriverProperties":      openapi3.NewObjectSchema().WithAdditionalProperties(text()),
		"LogicalDiskProperties": openapi3.NewObjectSchema().WithAdditionalProperties(text()),
		"VendorMethods":         openapi3.NewObjectSchema().WithAdditionalProperties(free()),
		"VendorResult":          anything(),
		"VendorArgumentsBody":   anything(),
		"ExternalEventsBody":    members(map[string]*openapi3.Schema{"events": openapi3.NewArraySchema().WithItems(free())}).WithRequired([]string{"events"}),
		"Volume":                free(),
		"Lookup":                free(),
		"InspectionRule":        free(),
		"InspectionRuleBody":    free(),
		"InspectionRules":       members(map[string]*openapi3.Schema{"inspection_rules": openapi3.NewArraySchema().WithItems(free()), "next": text()}),
		"InspectionDataBody":    free(),
		"Progress":              goType[ipa.Progress](),
		"SeenEvents":            goType[ironic.Events](),
		"Timeline":              goType[timelineAnswer](),
		"Metrics":               text(),
		"Explanation":           goType[explain.Explanation](),
		"EraseReports":          goType[ipa.EraseReports](),
		"Plugin":                goType[ironic.Plugin](),
		"Plugins":               goType[ironic.Plugins](),
		"PluginChange":          goType[ironic.PluginChange](),
		"NodePlugins":           goType[ironic.NodePlugins](),
		"PluginReportBody":      goType[ipa.PluginReport](),
	}
}
