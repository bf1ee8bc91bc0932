package restapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"ferric/api/ironic"
)

// fieldsArg and detailArg choose what is shown (REST contract, section 1.4).
var (
	fieldsArg = arg{name: "fields", kind: argNames, since: ironic.VersionFields, doc: "Attributes to show; links are shown in addition."}
	detailArg = arg{name: "detail", kind: argFlag, since: ironic.VersionDetail, older: http.StatusBadRequest, doc: "Shows all attributes."}
)

// sliceArgs choose a part of a list, pageArgs are the arguments that every
// list has.
var (
	sliceArgs = []arg{
		{name: "limit", kind: argNumber, doc: "Length of the page, at most [api]max_limit."},
		{name: "marker", kind: argUUID, doc: "Last item of the page before."},
		{name: "sort_key", kind: argText, doc: "Attribute to sort by."},
		{name: "sort_dir", kind: argText, doc: "asc or desc."},
	}
	pageArgs = slices.Concat(sliceArgs, []arg{fieldsArg, detailArg})
)

// page is which part of a list is asked for, and how it is to look (REST
// contract, section 1.4).
type page struct {
	limit   int
	marker  string // UUID of the last item of the page before
	sortKey string
	desc    bool
	fields  []string // nil is the full form
	detail  bool     // asked for by ?detail=
	chosen  bool     // fields were asked for by name
}

// pageOf reads the arguments of a list. defaults are the fields shown when no
// others were asked for.
func pageOf[T any](a arguments, fs fields[T], v ironic.Version, maxLimit int, defaults []string) (page, error) {
	p := page{limit: maxLimit, sortKey: "id"}
	limit, err := a.number("limit")
	if err != nil {
		return p, err
	}
	if limit != nil {
		if *limit <= 0 {
			return p, badRequest("Limit must be positive")
		}
		p.limit = min(*limit, maxLimit)
	}
	if p.marker, err = a.uuid("marker"); err != nil {
		return p, err
	}
	if err := readSort(&p, a, fs, v); err != nil {
		return p, err
	}
	return p, readFields(&p, a, fs, v, defaults)
}

func readSort[T any](p *page, a arguments, fs fields[T], v ironic.Version) error {
	key, err := a.text("sort_key")
	if err != nil {
		return err
	}
	if key != "" && key != "id" {
		f, _ := fs.find(key)
		if f.since > v {
			return notAcceptable("Sort key %q is not acceptable before API version %s.", key, f.since)
		}
		if f.access&sortable == 0 { // nor is the zero field of an unknown name
			return badRequest("The sort_key value %q is an invalid field for sorting", key)
		}
		p.sortKey = key
	}
	dir, err := a.text("sort_dir")
	if err != nil {
		return err
	}
	if a.has("sort_dir") && dir != "asc" && dir != "desc" {
		return badRequest("Invalid sort direction: %s. Acceptable values are 'asc' or 'desc'", dir)
	}
	p.desc = dir == "desc"
	return nil
}

func readFields[T any](p *page, a arguments, fs fields[T], v ironic.Version, defaults []string) error {
	names, err := chosenFields(a, fs, v)
	if err != nil {
		return err
	}
	detail, err := a.flag("detail")
	if err != nil {
		return err
	}
	p.detail = detail != nil && *detail
	switch {
	case p.detail && names != nil:
		return badRequest("Can't fetch a subset of fields with 'detail' set")
	case p.detail:
	case names != nil:
		p.fields, p.chosen = names, true
	default:
		p.fields = defaults
	}
	return nil
}

// chosenFields reads ?fields=; nil if there is none.
func chosenFields[T any](a arguments, fs fields[T], v ironic.Version) ([]string, error) {
	names, err := a.list("fields")
	if err != nil || names == nil {
		return nil, err
	}
	return names, fs.check(names, v)
}

// next is the address of the page after one that ended with marker. Only those
// of the named arguments that are true are carried over.
func (p page) next(base, path, marker string, a arguments, carried ...string) string {
	var b strings.Builder
	b.WriteString(base + "/v1/" + path + "?sort_key=" + p.sortKey + "&sort_dir=")
	if p.desc {
		b.WriteString("desc")
	} else {
		b.WriteString("asc")
	}
	for _, name := range carried {
		if on, err := a.flag(name); err == nil && on != nil && *on {
			b.WriteString("&" + name + "=True")
		}
	}
	if p.detail {
		b.WriteString("&detail=True")
	}
	if p.chosen {
		b.WriteString("&fields=" + strings.Join(p.fields, ","))
	}
	return b.String() + "&limit=" + strconv.Itoa(p.limit) + "&marker=" + url.QueryEscape(marker)
}
