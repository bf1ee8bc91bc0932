package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeRequest(t *testing.T) {
	deep := func(n int) string {
		return `{"name":"a.b","params":{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`
	}
	tests := []struct {
		name, body string
		params     string // as JSON; "" if refused
	}{
		{"numbers", `{"name":"a.b","params":{"a":1,"b":-1.5,"c":1e3}}`, `{"a":1,"b":-1.5,"c":1000}`},
		{"numbers that float64 does not hold", `{"name":"a.b","params":{"a":18446744073709551615,"b":[1e400,{"c":9007199254740993}],"d":0.1}}`, `{"a":18446744073709551615,"b":[1e400,{"c":9007199254740993}],"d":0.1}`},
		{"digits in text", `{"name":"a.b","params":{"a":"18446744073709551615 \" [[{ "}}`, `{"a":"18446744073709551615 \" [[{ "}`},
		{"a key twice", `{"name":"x.y","params":{"a":1},"name":"a.b","params":{"b":1,"b":2}}`, `{"b":2}`},
		{"names are exact", `{"name":"a.b","Name":"x.y","params":{},"PARAMS":{"a":1}}`, `{}`},
		{"other case only", `{"Name":"a.b","Params":{}}`, ""},
		{"deep", deep(maxDepth - 2), `{"x":` + strings.Repeat("[", maxDepth-2) + strings.Repeat("]", maxDepth-2) + `}`},
		{"too deep", deep(maxDepth - 1), ""},
		{"much too deep", deep(100_000), ""},
		{"two values with a long number", `{"name":"a.b","params":{"a":1e400}} {}`, ""},
		{"empty", ``, ""},
		{"not UTF-8", "{\"name\":\"a.b\",\"params\":{\"a\":\"\xff\"}}", `{"a":"` + "\ufffd" + `"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, err := DecodeRequest(strings.NewReader(test.body), int64(len(test.body)))
			if test.params == "" {
				if err == nil {
					t.Errorf("accepted as %+v", req)
				}
				return
			}
			if err != nil || req.Name != "a.b" {
				t.Fatalf("%+v, %v; want a.b", req, err)
			}
			got, err := json.Marshal(req.Params)
			if diff := cmp.Diff(test.params, string(got)); err != nil || diff != "" {
				t.Errorf("%v, params (-want +got):\n%s", err, diff)
			}
		})
	}
	req, err := DecodeRequest(strings.NewReader(tests[1].body), -1)
	if n, ok := req.Params["d"].(float64); err != nil || !ok || n != 0.1 {
		t.Errorf("a short number beside a long one is %T; want float64", req.Params["d"])
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a.b","params":{}}`, `{"name":"a.b","params":{"a":[1,2]},"x":1}`, `[]`, `null`, `{"name":null,"params":null}`, `{"name":"a"}{}`,
		`{"name":"a.b","params":{"a":18446744073709551615,"b":1e400,"c":-0.1e-400}}`, `{"name":"a.b","params":{"a":"\"\\"}}`,
		`{"name":"a.b","params":{"a":10e17,"b":0.0000001,"c":123456789012345e-20}}`,
		`{"name":"flow.start_flow","params":{"flow":[{"clean.execute_clean_step":{"step":{"step":"x","args":{}}}}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := DecodeRequest(bytes.NewReader(body), int64(len(body)))
		if err != nil {
			return
		}
		if req.Name == "" || req.Params == nil {
			t.Fatalf("DecodeRequest(%q) accepted %+v", body, req)
		}
		// What is accepted can be echoed, and is accepted again.
		echo, err := json.Marshal(map[string]any{"name": req.Name, "params": req.Params})
		if err != nil {
			t.Fatalf("%q cannot be echoed: %v", body, err)
		}
		again, err := DecodeRequest(bytes.NewReader(echo), int64(len(echo)))
		if err != nil {
			t.Fatalf("the echo %q is refused: %v", echo, err)
		}
		if diff := cmp.Diff(req, again, cmp.FilterValues(bothNumbers, cmp.Comparer(sameNumber))); diff != "" {
			t.Errorf("the echo of %q differs:\n%s", body, diff)
		}
	})
}

// bothNumbers reports whether two members are numbers, however they are held.
func bothNumbers(a, b any) bool {
	number := func(v any) bool {
		switch v.(type) {
		case float64, json.Number:
			return true
		}
		return false
	}
	return number(a) && number(b)
}

// sameNumber compares numbers by their value: 10e17 is 1000000000000000000.
func sameNumber(a, b any) bool {
	texts := [2]string{fmt.Sprint(a), fmt.Sprint(b)}
	if texts[0] == texts[1] {
		return true
	}
	var values [2]*big.Rat
	for i, text := range texts {
		_, exponent, _ := strings.Cut(strings.ToLower(text), "e")
		if len(exponent) > len("-400") {
			return false // no float64: it has to be the same text
		}
		var ok bool
		if values[i], ok = new(big.Rat).SetString(text); !ok {
			return false
		}
	}
	return values[0].Cmp(values[1]) == 0
}
