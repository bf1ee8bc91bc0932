package restapi

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"ferric/api"
	"ferric/api/ironic"
)

// extensionSince and extensionPolicy are members of the description beside those
// of OpenAPI: the microversion that something appeared in, and the rule that
// allows an operation.
const (
	extensionSince  = "x-ironic-since"
	extensionPolicy = "x-ironic-policy"
)

func (s *Server) descriptionRoutes() []route {
	return []route{
		{method: "GET", path: "/ferric/v1/openapi.json", policy: "public", handle: s.describe, result: "OpenAPI", doc: "Describes the API.",
			args: []arg{{name: "microversion", kind: argText, doc: "1.N: describes what there is at this microversion; without it the newest."}}},
	}
}

// describe answers with the OpenAPI description of a microversion.
func (s *Server) describe(_ context.Context, r *request) (reply, error) {
	wanted, err := r.args.text("microversion")
	if err != nil {
		return reply{}, err
	}
	v, err := ironic.ParseVersion(cmp.Or(wanted, api.MaxVersion.String()))
	if err != nil || v > api.MaxVersion {
		return reply{}, badRequest("Invalid microversion: it has to be between %s and %s.", api.MinVersion, api.MaxVersion)
	}
	return ok(s.openAPI(v, r.base))
}

// openAPI renders the tables of routes and fields as they are at microversion v.
func (s *Server) openAPI(v ironic.Version, base string) *openapi3.T {
	doc := &openapi3.T{
		OpenAPI: "3.0.3",
		Info: &openapi3.Info{
			Title: "Bare Metal API", Version: v.String(),
			Description: "Ironic's REST API as ferric serves it. What appeared after microversion 1.1 has " + extensionSince + "; the microversion is asked for by the header " + ironic.HeaderVersion + ".",
		},
		Servers:    openapi3.Servers{{URL: base}},
		Paths:      openapi3.NewPaths(),
		Components: &openapi3.Components{Schemas: schemas(v)},
	}
	for _, r := range s.routes() {
		if r.since > v {
			continue
		}
		path := r.wirePath()
		item := doc.Paths.Value(path)
		if item == nil {
			item = &openapi3.PathItem{}
			doc.Paths.Set(path, item)
		}
		item.SetOperation(r.method, r.operation(v))
	}
	return doc
}

var pathParameter = regexp.MustCompile(`:(\w+)`)

// wirePath is the path as OpenAPI writes it.
func (r route) wirePath() string {
	path := r.path
	if path != "/" && path != "/v1" && path != "/healthcheck" && path != metricsPath && !strings.HasPrefix(path, "/ferric/") {
		path = "/v1" + path
	}
	return pathParameter.ReplaceAllString(path, "{$1}")
}

func (r route) operation(v ironic.Version) *openapi3.Operation {
	op := &openapi3.Operation{
		OperationID: r.operationID(), Summary: r.doc, Tags: []string{r.tag()},
		Responses:  openapi3.NewResponses(openapi3.WithStatus(r.success(), response(r.result)), openapi3.WithName("default", errorResponse())),
		Extensions: map[string]any{extensionPolicy: r.policy},
	}
	if r.since > 1 {
		op.Extensions[extensionSince] = r.since.String()
	}
	for _, m := range pathParameter.FindAllStringSubmatch(r.path, -1) {
		op.AddParameter(openapi3.NewPathParameter(m[1]).WithSchema(openapi3.NewStringSchema()))
	}
	op.AddParameter(openapi3.NewHeaderParameter(ironic.HeaderVersion).WithSchema(openapi3.NewStringSchema()).WithDescription("1.N or latest; 1.1 if it is missing."))
	members := openapi3.NewObjectSchema().WithAnyAdditionalProperties()
	for _, a := range r.args {
		if a.since > v {
			continue
		}
		schema := a.schema()
		members.WithProperty(a.name, schema)
		if r.body != "" || r.stream || !r.hasBody() {
			op.AddParameter(openapi3.NewQueryParameter(a.name).WithSchema(schema).WithDescription(a.doc))
		}
	}
	switch {
	case r.stream:
		op.RequestBody = &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().WithRequired(true).WithContent(octetContent())}
	case r.body != "" && r.method == http.MethodPatch:
		op.RequestBody = body(ref("Patch"))
	case r.body != "":
		op.RequestBody = body(ref(bodySchema(r.body)))
	case r.hasBody() && len(r.args) > 0:
		op.RequestBody = body(openapi3.NewSchemaRef("", members))
	}
	return op
}

func (r route) hasBody() bool {
	return slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, r.method)
}

func (r route) success() int { return cmp.Or(r.status, http.StatusOK) }

// tag is the resource that the route is about.
func (r route) tag() string {
	for part := range strings.SplitSeq(strings.TrimPrefix(r.path, "/ferric/v1"), "/") {
		if part != "" && part[0] != ':' {
			return part
		}
	}
	return "discovery"
}

// operationID is a name for generated clients, "put_nodes_node_states_power".
func (r route) operationID() string {
	words := strings.FieldsFunc(r.path, func(c rune) bool { return c == '/' || c == ':' || c == '.' })
	return strings.Join(append([]string{strings.ToLower(r.method)}, words...), "_")
}

// schema of an argument's value.
func (a arg) schema() *openapi3.Schema {
	var schema *openapi3.Schema
	switch a.kind {
	case argFlag:
		// Clients send any of oslo's words for true and false.
		schema = openapi3.NewSchema()
		schema.AnyOf = openapi3.SchemaRefs{openapi3.NewBoolSchema().NewRef(), openapi3.NewStringSchema().NewRef()}
	case argNumber:
		schema = openapi3.NewIntegerSchema()
	case argObject:
		schema = openapi3.NewObjectSchema().WithAnyAdditionalProperties()
	case argList:
		schema = openapi3.NewArraySchema().WithItems(openapi3.NewSchema())
	case argAny:
		schema = openapi3.NewSchema()
	default:
		schema = openapi3.NewStringSchema()
	}
	if a.kind != argAny {
		schema.Nullable = true
	}
	mark(schema, a.since)
	return schema
}

func mark(schema *openapi3.Schema, since ironic.Version) {
	if since > 1 {
		schema.Extensions = map[string]any{extensionSince: since.String()}
	}
}

func ref(name string) *openapi3.SchemaRef {
	return openapi3.NewSchemaRef("#/components/schemas/"+name, nil)
}

func body(schema *openapi3.SchemaRef) *openapi3.RequestBodyRef {
	return &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().WithContent(openapi3.NewContentWithJSONSchemaRef(schema))}
}

func response(result string) *openapi3.ResponseRef {
	r := openapi3.NewResponse().WithDescription("Success.")
	if result == octets {
		r = r.WithContent(octetContent())
	} else if result != "" {
		r = r.WithContent(openapi3.NewContentWithJSONSchemaRef(ref(result)))
	}
	return &openapi3.ResponseRef{Value: r}
}

// octets is the result of what answers with bytes.
const octets = "octets"

func octetContent() openapi3.Content {
	return openapi3.NewContentWithSchema(openapi3.NewStringSchema().WithFormat("binary"), []string{echo.MIMEOctetStream})
}

func errorResponse() *openapi3.Response {
	return openapi3.NewResponse().WithDescription("Refused or failed.").WithContent(openapi3.NewContentWithJSONSchemaRef(ref("Error")))
}

// schema of a resource as microversion v knows it, or of what creates one. The
// types are those of the values that row has.
func (fs fields[T]) schema(row *T, v ironic.Version, a access) *openapi3.Schema {
	out := openapi3.NewObjectSchema()
	for _, f := range fs {
		if f.since > v || f.access&a != a {
			continue
		}
		schema := valueSchema(reflect.ValueOf(f.get(row)))
		if a != readOnly {
			schema = openapi3.NewSchema() // texts are taken for numbers and flags, too
			schema.Nullable = true
		}
		mark(schema, f.since)
		out.WithProperty(f.name, schema)
	}
	return out.WithoutAdditionalProperties()
}

// valueSchema is the schema of values of the same type as v.
func valueSchema(v reflect.Value) *openapi3.Schema {
	if !v.IsValid() {
		return anything()
	}
	return typeSchema(v.Type())
}

func anything() *openapi3.Schema {
	schema := openapi3.NewSchema()
	schema.Nullable = true
	return schema
}

func typeSchema(t reflect.Type) *openapi3.Schema {
	if t == reflect.TypeFor[ironic.Time]() || t == reflect.TypeFor[time.Time]() {
		return openapi3.NewDateTimeSchema()
	}
	switch t.Kind() {
	case reflect.Pointer:
		schema := typeSchema(t.Elem())
		schema.Nullable = true
		return schema
	case reflect.String:
		return openapi3.NewStringSchema()
	case reflect.Bool:
		return openapi3.NewBoolSchema()
	case reflect.Int, reflect.Int64, reflect.Int32:
		return openapi3.NewIntegerSchema()
	case reflect.Float64:
		return openapi3.NewFloat64Schema()
	case reflect.Slice, reflect.Array:
		schema := openapi3.NewArraySchema().WithItems(typeSchema(t.Elem()))
		schema.Nullable = true
		return schema
	case reflect.Map:
		return openapi3.NewObjectSchema().WithAdditionalProperties(typeSchema(t.Elem()))
	case reflect.Struct:
		return structSchema(t)
	}
	return anything()
}

// structSchema follows the JSON tags of a struct.
func structSchema(t reflect.Type) *openapi3.Schema {
	schema := openapi3.NewObjectSchema()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && name != "-" {
			schema.WithProperty(cmp.Or(name, f.Name), typeSchema(f.Type))
		}
	}
	return schema
}
