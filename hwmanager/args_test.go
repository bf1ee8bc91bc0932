package hwmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

// common is embedded in the arguments of several steps.
type common struct {
	Limit  time.Duration `json:"limit" doc:"of the tool" default:"90s" min:"1s" max:"1h"`
	DryRun bool          `json:"dry_run"`
}

type imageArg struct {
	URL    string `json:"url" required:"true"`
	Digest string `json:"digest" required:"true" min:"4"`
	Retry  uint8  `json:"retry" default:"3"`
}

func (i imageArg) Validate() error {
	if !strings.HasPrefix(i.URL, "http") {
		return errors.New("url is not an http URL")
	}
	return nil
}

type tree struct {
	Name     string           `json:"name"`
	Children []tree           `json:"children"`
	Next     *tree            `json:"next"`
	Named    map[string]*tree `json:"named"`
}

type everything struct {
	common
	Image   imageArg          `json:"image" required:"true"`
	Slot    int8              `json:"slot" doc:"where to" default:"1" enum:"1,2,4"`
	Mode    string            `json:"mode" doc:"when" default:"reset" enum:"now,reset"`
	Serials []string          `json:"serials" doc:"disks" default:"a,b" max:"3"`
	Levels  []int             `json:"levels" default:"[1, 5]" enum:"0,1,5"`
	Options map[string]uint16 `json:"options"`
	Ratio   float32           `json:"ratio" default:"0.5" min:"0" max:"1"`
	Maybe   *int64            `json:"maybe"`
	Size    ipa.MiB           `json:"size" default:"\"20\""`
	Address netip.Addr        `json:"address"`
	Key     []byte            `json:"key" max:"4"`
	Extra   any               `json:"extra"`
	Tree    *tree             `json:"tree"`
	Number  json.Number       `json:"number"`
	Nested  struct {
		Depth uint `json:"depth" default:"7"`
	} `json:"nested"`
	hidden int
	Not    int `json:"-"`
}

func defaults() everything {
	e := everything{
		common: common{Limit: 90 * time.Second}, Image: imageArg{URL: "http://s/i", Digest: "abcd", Retry: 3},
		Slot: 1, Mode: "reset", Serials: []string{"a", "b"}, Levels: []int{1, 5}, Ratio: 0.5, Size: 20,
	}
	e.Nested.Depth = 7
	return e
}

// parse is an object of JSON, numbers as the agent has them or as float64.
func parse(t testing.TB, text string, numbers bool) map[string]any {
	t.Helper()
	var object map[string]any
	decode := json.Unmarshal
	if numbers {
		decode = func(text []byte, into any) error { return decodeNumbers(text, into) }
	}
	if err := decode([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestArgs(t *testing.T) {
	seven := int64(7)
	const image = `"image":{"url":"http://s/i","digest":"abcd"}`
	for _, test := range []struct {
		name, text string
		change     func(*everything)
	}{
		{"defaults", `{` + image + `}`, func(*everything) {}},
		{"null is absent", `{` + image + `,"slot":null,"maybe":null,"serials":null,"options":null,"limit":null,"nested":null,"tree":null,"extra":null}`, func(*everything) {}},
		{"numbers", `{` + image + `,"slot":4.0,"maybe":7e0,"ratio":1,"size":512,"number":12.50}`, func(e *everything) {
			e.Slot, e.Maybe, e.Ratio, e.Size, e.Number = 4, &seven, 1, 512, "12.50"
		}},
		{"lists", `{` + image + `,"serials":[],"levels":[0]}`, func(e *everything) { e.Serials, e.Levels = []string{}, []int{0} }},
		{"objects", `{` + image + `,"options":{"a":1,"b":65535},"nested":{}}`, func(e *everything) { e.Options = map[string]uint16{"a": 1, "b": 65535} }},
		{"embedded", `{` + image + `,"limit":2.5,"dry_run":true}`, func(e *everything) { e.Limit, e.DryRun = 2500*time.Millisecond, true }},
		{"own types", `{` + image + `,"size":"7","address":"::1","key":"AQI=","limit":"1m"}`, func(e *everything) {
			e.Size, e.Address, e.Key, e.Limit = 7, netip.IPv6Loopback(), []byte{1, 2}, time.Minute
		}},
		{"a type in itself", `{` + image + `,"tree":{"name":"a","children":[{"name":"b","next":{"name":"c"}}]}}`, func(e *everything) {
			e.Tree = &tree{Name: "a", Children: []tree{{Name: "b", Next: &tree{Name: "c"}}}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := defaults()
			test.change(&want)
			for _, numbers := range []bool{true, false} {
				got, err := decodeChecked[everything](parse(t, test.text, numbers))
				if err != nil {
					t.Fatal(err)
				}
				if !numbers {
					want.Number = json.Number(strings.TrimSuffix(string(want.Number), "0")) // a float64 has no such zeros
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("with json.Number %v:\n got %+v\nwant %+v", numbers, got, want)
				}
			}
		})
	}
}

// TestArgsOfGo: what code calls with, instead of JSON, is taken as well.
func TestArgsOfGo(t *testing.T) {
	got, err := decodeChecked[everything](map[string]any{
		"image": map[string]string{"url": "http://s/i", "digest": "abcd"}, "slot": 2, "serials": []string{"x"}, "ratio": float32(0.25), "maybe": nil,
	})
	if err != nil || got.Slot != 2 || len(got.Serials) != 1 || got.Ratio != 0.25 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestArgsRefused: everything that is wrong is told at once, by path.
func TestArgsRefused(t *testing.T) {
	deep := strings.Repeat(`{"next":`, 500) + "null" + strings.Repeat("}", 500)
	for _, test := range []struct {
		text string
		want []string
	}{
		{`{}`, []string{"image is missing"}},
		{`{"image":{}}`, []string{"image.url is missing", "image.digest is missing"}},
		{`{"image":{"url":"ftp://x","digest":"abcd"}}`, []string{"image: url is not an http URL"}},
		{`{"image":{"url":"http://x","digest":"abc","colour":1}}`, []string{"image.digest must be at least 4 characters", "image.colour is unknown (known are url, digest, retry)"}},
		{`{"image":[],"slot":3,"mode":"later"}`, []string{"image must be an object, not a list", "slot must be one of 1, 2, 4, not 3", "mode must be one of now, reset, not later"}},
		{`{"image":{"url":"http://x","digest":"abcd","retry":256},"slot":1.5,"levels":[1,2],"options":{"a":-1,"b":"1","c":null}}`, []string{
			"image.retry must be from 0 to 255", "slot must be a whole number, not 1.5", "levels[1] must be one of 0, 1, 5, not 2",
			"options.a must be from 0 to 65535", "options.b must be a number, not a text", "options.c must not be null"}},
		{`{"image":{"url":"http://x","digest":"abcd"},"slot":true,"dry_run":"true","serials":"a","ratio":1.5,"maybe":1e30,"size":"x","address":"y","key":"&","limit":"soon"}`, []string{
			"slot must be a number, not a boolean", "dry_run must be a boolean, not a text", "serials must be a list, not a text", "ratio must be at most 1",
			"maybe must be from -9223372036854775808 to 9223372036854775807", "size is wrong:", "address is wrong:", "key must be base64", "limit must be a duration such as 90s"}},
		{`{"image":{"url":"http://x","digest":"abcd"},"limit":0,"serials":["a","b","c","d"],"key":"AAAAAAA=","levels":[null],"Slot":1,"hidden":1,"Not":1,"extra":{"x":[1]}}`, []string{
			"limit must be at least 1s", "serials must be at most 3 elements", "key must be at most 4 bytes", "levels[0] must not be null", "Slot is unknown", "hidden is unknown", "Not is unknown"}},
		{`{"image":{"url":"http://x","digest":"abcd"},"limit":1e300}`, []string{"limit is too long"}},
		{`{"image":{"url":"http://x","digest":"abcd"},"tree":` + deep + `}`, []string{"is nested more than 64 deep"}},
		{`{"image":{"url":"http://x","digest":"abcd"},"serials":[` + strings.Repeat("1,", 1000) + `1]}`, []string{"serials[0] must be a text", "and 981 more"}},
	} {
		for _, numbers := range []bool{true, false} {
			_, err := decodeChecked[everything](parse(t, test.text, numbers))
			if !ipa.InvalidCommandParams.Is(err) {
				t.Errorf("%.80s: %v; want InvalidCommandParamsError", test.text, err)
				continue
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%.80s: %v\nwants %s", test.text, err, want)
				}
			}
		}
	}
}

// rude panics where it is asked.
type rude struct{ Word string }

func (rude) Validate() error { panic("never ask me") }

type shy struct{ word string }

func (*shy) UnmarshalText([]byte) error { panic("not this one") }

func TestArgsOfTypesThatPanic(t *testing.T) {
	_, err := decodeChecked[struct {
		Shy shy `json:"shy"`
	}](map[string]any{"shy": "x"})
	if !ipa.InvalidCommandParams.Is(err) || !strings.Contains(err.Error(), "shy is wrong: panic: not this one") {
		t.Errorf("UnmarshalText panics: %v", err)
	}
	if _, err = decodeChecked[rude](map[string]any{"Word": "x"}); !ipa.InvalidCommandParams.Is(err) || !strings.Contains(err.Error(), "panic: never ask me") {
		t.Errorf("Validate panics: %v", err)
	}
}

// Self is a type that Go allows, and no argument ever needs.
type Self struct {
	*Self
	Name string `json:"name"`
}

// TestArgTypes: a type that cannot be that of arguments makes a step that tells
// so, and does not run.
func TestArgTypes(t *testing.T) {
	for _, test := range []struct {
		name string
		step Step
		want string // "": it is good
	}{
		{"nothing", typed[struct{}](), ""},
		{"itself", typed[Self](), ""},
		{"a tree", typed[tree](), ""},
		{"no struct", typed[string](), "must be a struct"},
		{"a pointer", typed[*tree](), "must be a struct"},
		{"a function", typed[struct{ F func() }](), "argument F: no argument can be a func()"},
		{"a channel, deeply", typed[struct{ L []map[string]chan int }](), "no argument can be a chan int"},
		{"keys that are no text", typed[struct{ M map[int]string }](), "no argument can be a map[int]string"},
		{"an interface", typed[struct{ E error }](), "no argument can be a error"},
		{"required with a default", typed[struct {
			N int `required:"true" default:"1"`
		}](), "required and has a default"},
		{"a default of another type", typed[struct {
			N int `default:"x"`
		}](), "the tag default: N must be a number"},
		{"a default that its own rules forbid", typed[struct {
			N int `default:"9" max:"8"`
		}](), "the tag default: N must be at most 8"},
		{"bounds of a boolean", typed[struct {
			B bool `min:"1"`
		}](), "has no bounds"},
		{"a bound that is no number", typed[struct {
			N int `max:"many"`
		}](), "the tag max"},
		{"an enum of another type", typed[struct {
			N []int `enum:"1,two"`
		}](), "the tag enum"},
		{"an enum of objects", typed[struct {
			N []tree `enum:"a"`
		}](), "cannot have the tag enum"},
		{"neither true nor false", typed[struct {
			N int `required:"yes"`
		}](), "neither true nor false"},
		{"two of one name", typed[struct {
			A int `json:"B"`
			B int
		}](), "two arguments B"},
		{"argsinfo twice", NewStep(ipa.Step{Step: "s", Interface: "raid", ArgsInfo: map[string]ipa.Arg{"x": {}}}, nothing[struct{}]), "must not be given"},
		{"no function", NewStep[struct{}](ipa.Step{Step: "s", Interface: "raid"}, nil), "no function"},
		{"no interface", NewStep(ipa.Step{Step: "s"}, nothing[struct{}]), ""},
		{"no name", NewStep(ipa.Step{Interface: "raid"}, nothing[struct{}]), "no name"},
		{"a priority below zero", NewStep(ipa.Step{Step: "s", Interface: "raid", Priority: -1}, nothing[struct{}]), "priority is -1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.step.Check()
			_, ranErr := test.step.Run(t.Context(), host(), StepCall{})
			switch {
			case test.want == "" && (err != nil || ranErr != nil):
				t.Errorf("Check = %v, Run = %v", err, ranErr)
			case test.want != "" && (!ipa.ManagerConfiguration.Is(err) || !strings.Contains(fmt.Sprint(err), test.want) || ranErr == nil):
				t.Errorf("Check = %v, Run = %v; want %q", err, ranErr, test.want)
			}
		})
	}
}

func nothing[A any](context.Context, *Host, StepCall, A) (any, error) { return nil, nil }

func typed[A any]() Step {
	return NewStep(ipa.Step{Step: "s", Interface: "raid"}, nothing[A])
}

func TestArgsInfo(t *testing.T) {
	step := typed[everything]()
	if err := step.Check(); err != nil {
		t.Fatal(err)
	}
	info := step.Declaration.ArgsInfo
	want := map[string]ipa.Arg{
		"image":   {Required: true},
		"limit":   {Description: "of the tool (at least 1s; at most 1h; default 90s)"},
		"slot":    {Description: "where to (one of 1, 2, 4; default 1)"},
		"serials": {Description: "disks (at most 3 elements; default a,b)"},
		"maybe":   {},
	}
	for name, arg := range want {
		if diff := cmp.Diff(arg, info[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, there := info["hidden"]; there || len(info) != 17 {
		t.Errorf("argsinfo has %d arguments: %v", len(info), info)
	}
	if typed[struct{}]().Declaration.ArgsInfo != nil {
		t.Error("argsinfo of a step without arguments is not left out")
	}
}

func FuzzArgs(f *testing.F) {
	for _, seed := range []string{
		`{"image":{"url":"http://s/i","digest":"abcd"}}`,
		`{"image":{"url":"http://s/i","digest":"abcd","retry":1e2},"slot":2,"levels":[0],"options":{"x":1},"limit":"3s","tree":{"next":{"children":[{"named":{"a":{"named":{"b":null}}}}]}},"number":1}`,
		`{"slot":1e999,"maybe":-0,"ratio":1e-400,"size":"","limit":9e99,"key":"=","extra":[[[]]],"nested":{"depth":-1}}`,
		`{"image":null,"serials":[null],"levels":[1.0,5.5],"address":1,"":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, decode := range []func([]byte, any) error{json.Unmarshal, decodeNumbers} {
			var object map[string]any
			if decode(text, &object) != nil {
				return
			}
			args, err := decodeChecked[everything](object)
			if err != nil {
				if !ipa.InvalidCommandParams.Is(err) || len(err.Error()) > 16<<10 {
					t.Errorf("%.200s: %v", text, err)
				}
				continue
			}
			if args.Image.Validate() != nil || args.Slot != 1 && args.Slot != 2 && args.Slot != 4 || args.Ratio < 0 || args.Ratio > 1 || len(args.Serials) > 3 ||
				args.Limit < time.Second || args.Limit > time.Hour {
				t.Errorf("%.200s: accepted as %+v", text, args)
			}
		}
	})
}

// decodeChecked decodes as NewStep does.
func decodeChecked[A any](object map[string]any) (A, error) {
	if err := checkArgs(reflect.TypeFor[A]()); err != nil {
		var none A
		return none, err
	}
	return decodeArgs[A]("arguments", object)
}
