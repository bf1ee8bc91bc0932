package hints

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"ferric/api/ipa"
)

func ptr(s string) *string { return &s }

const gib = 1 << 30

func disk() ipa.BlockDevice {
	return ipa.BlockDevice{
		Name: "/dev/sda", Model: ptr("SAMSUNG MZ 7LH"), Size: 480 * gib, Rotational: false,
		WWN: ptr("0x5002538c409b3a5c"), Serial: ptr("S45NNA0M"), Vendor: ptr("ATA"), HCTL: ptr("0:0:1:0"),
		ByPath: ptr("/dev/disk/by-path/pci-0000:00:1f.2-ata-1"), Tran: ptr("sata"),
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		name string
		in   map[string]any
		want bool
	}{
		{"no hints", map[string]any{}, true},
		{"plain text is equality", map[string]any{"serial": "S45NNA0M"}, true},
		{"case and blanks do not count", map[string]any{"model": "  samsung mz 7lh "}, true},
		{"another serial", map[string]any{"serial": "S45NNA0N"}, false},
		{"s==", map[string]any{"vendor": "s== ata"}, true},
		{"s!=", map[string]any{"vendor": "s!= ata"}, false},
		{"s>=", map[string]any{"name": "s>= /dev/sda"}, true},
		{"s>", map[string]any{"name": "s> /dev/sda"}, false},
		{"s<=", map[string]any{"name": "s<= /dev/sdb"}, true},
		{"s<", map[string]any{"name": "s< /dev/sda"}, false},
		{"substring", map[string]any{"model": "<in> MZ 7"}, true},
		{"substring missing", map[string]any{"model": "<in> intel"}, false},
		{"all substrings", map[string]any{"model": "<all-in> samsung 7lh"}, true},
		{"one of several", map[string]any{"serial": "<or> X1 <or> s45nna0m"}, true},
		{"none of several", map[string]any{"serial": "<or> X1 <or> X2"}, false},
		{"alternatives with blanks", map[string]any{"model": "<or> foo bar <or> samsung mz 7lh"}, true},
		{"size is GiB and exact", map[string]any{"size": float64(480)}, true},
		{"size as text", map[string]any{"size": "480"}, true},
		{"size of another disk", map[string]any{"size": 479}, false},
		{"=", map[string]any{"size": "= 400"}, true},
		{">=", map[string]any{"size": ">= 480"}, true},
		{">", map[string]any{"size": "> 480"}, false},
		{"<=", map[string]any{"size": "<= 480"}, true},
		{"<", map[string]any{"size": "<480"}, false},
		{"!=", map[string]any{"size": "!= 480"}, false},
		{"<or> of sizes", map[string]any{"size": "<or> 100 <or> 480"}, true},
		{"range includes", map[string]any{"size": "<range-in> [ 480 500 )"}, true},
		{"range excludes below", map[string]any{"size": "<range-in> ( 480 500 ]"}, false},
		{"range excludes above", map[string]any{"size": "<range-in> [100 480)"}, false},
		{"range includes above", map[string]any{"size": "<range-in> [100 480]"}, true},
		{"range from zero", map[string]any{"size": "<range-in> [ 0 500 ]"}, true},
		{"operator without blank", map[string]any{"vendor": "s==ata"}, true},
		{"operator without blank, less", map[string]any{"name": "s</dev/sdb"}, true},
		{"operator in capitals", map[string]any{"vendor": "S!= ATA"}, false},
		{"<in> without blank", map[string]any{"model": "<in>MZ 7"}, true},
		{"slashes and colons are kept apart", map[string]any{"by_path": "/dev/disk/by-path/pci-0000:00:1f.2-ata-1"}, true},
		{"an encoded value is another one", map[string]any{"hctl": "0%3A0%3A1%3A0"}, false},
		{"order is that of the encoded text", map[string]any{"model": "s< samsung-mz"}, true},
		{"rotational", map[string]any{"rotational": true}, false},
		{"rotational as a number", map[string]any{"rotational": float64(0)}, true},
		{"not rotational, as text", map[string]any{"rotational": "False"}, true},
		{"unknown fact reads none", map[string]any{"wwn_with_extension": "none"}, true},
		{"all must match", map[string]any{"serial": "s45nna0m", "hctl": "1:0:0:0"}, false},
		{"tran and by_path", map[string]any{"tran": "sata", "by_path": "<in> ata-1"}, true},
		{"wwn", map[string]any{"wwn": "0x5002538C409B3A5C"}, true},
		{"vendor extension unknown", map[string]any{"wwn_vendor_extension": "0x1"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parsed, err := Parse(test.in)
			if err != nil {
				t.Fatalf("Parse(%v) = %v; want no error", test.in, err)
			}
			if got := parsed.Match(disk(), nil); got != test.want {
				t.Errorf("Match(%v) = %v; want %v", test.in, got, test.want)
			}
		})
	}
}

func TestMatchFurtherValues(t *testing.T) {
	parsed, err := Parse(map[string]any{"serial": "5002538c409b3a5c"})
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Match(disk(), nil) {
		t.Error("matched the serial that the disk does not have")
	}
	if !parsed.Match(disk(), map[string][]string{"serial": {"5002538C409B3A5C"}}) {
		t.Error("did not match the second notation of the serial")
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name string
		in   map[string]any
		want string
	}{
		{"unknown", map[string]any{"colour": "red"}, "no such hint"},
		{"size not a number", map[string]any{"size": "big"}, "not a positive integer"},
		{"size nan", map[string]any{"size": "nan"}, "not a positive integer"},
		{"size without value", map[string]any{"size": ">="}, "not a positive integer"},
		{"rotational", map[string]any{"rotational": "maybe"}, "not a boolean"},
		{"rotational number", map[string]any{"rotational": float64(2)}, "not a boolean"},
		{"size zero", map[string]any{"size": float64(0)}, "not a positive integer"},
		{"size negative", map[string]any{"size": ">= -1"}, "not a positive integer"},
		{"size with a fraction", map[string]any{"size": 1.5}, "not a positive integer"},
		{"size of one alternative", map[string]any{"size": "<or> 10 <or> x"}, "not a positive integer"},
		{"two at once", map[string]any{"size": "x", "colour": "red"}, "no such hint"},
		{"text as number", map[string]any{"serial": float64(12)}, "not a string"},
		{"numeric operator on text", map[string]any{"model": ">= 5"}, "compares numbers"},
		{"empty", map[string]any{"model": "  "}, "empty"},
		{"operator alone", map[string]any{"model": "<or>"}, "no value"},
		{"range", map[string]any{"size": "<range-in> 1 2"}, "form"},
		{"list", map[string]any{"model": []any{"a"}}, "not allowed"},
		{"long", map[string]any{"model": strings.Repeat("a", maxValue+1)}, "longer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse(test.in)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Parse(%v) = %v; want ErrInvalid with %q", test.in, err, test.want)
			}
		})
	}
}

// TestProperties holds for any value of an attribute what the operators mean.
func TestProperties(t *testing.T) {
	matches := func(name, expression string, d ipa.BlockDevice) bool {
		t.Helper()
		parsed, err := Parse(map[string]any{name: expression})
		if err != nil {
			t.Fatalf("%q: %v", expression, err)
		}
		return parsed.Match(d, nil)
	}
	letters := []rune("aAzZ09 _.-~/%:=é\"'+&\\ß")
	random := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]rune, 1+random.IntN(6))
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		// What begins like an operator is one.
		return "x" + strings.TrimSpace(string(b))
	}
	for range 2000 {
		a, b := word(), word()
		d := disk()
		d.Model = &a
		same := strings.EqualFold(a, b)
		truths := map[string]bool{
			a: true, strings.ToUpper(a): strings.ToLower(strings.ToUpper(a)) == strings.ToLower(a), "s== " + b: same, b: same, "s!= " + b: !same,
			"<or> " + b + " <or> " + a: true, "<or> " + b + " <or> other": same,
			"<in> " + a[1:] + " ": strings.TrimSpace(a[1:]) != "", "<in> " + a + b: false,
		}
		delete(truths, "<in>  ")
		for expression, want := range truths {
			if got := matches("model", expression, d); got != want {
				t.Errorf("%q matches %q: %v, want %v", expression, a, got, want)
			}
		}
		less, equal, more := matches("model", "s< "+b, d), matches("model", "s== "+b, d), matches("model", "s> "+b, d)
		if boolInt(less)+boolInt(equal)+boolInt(more) != 1 || matches("model", "s<= "+b, d) != (less || equal) || matches("model", "s>= "+b, d) != (more || equal) {
			t.Errorf("%q and %q: less %v, equal %v, more %v", a, b, less, equal, more)
		}
		if matches("model", "s> "+b, d) != (encode(strings.ToLower(a)) > encode(strings.ToLower(b))) {
			t.Errorf("order of %q and %q", a, b)
		}
	}
	for range 500 {
		n, from, to := 1+random.IntN(20), 1+random.IntN(20), 1+random.IntN(20)
		d := disk()
		d.Size = int64(n)*gib + int64(random.IntN(2)) // exact, or a byte more
		size := float64(d.Size) / gib
		for expression, want := range map[string]bool{
			fmt.Sprint(from): size == float64(from), fmt.Sprintf("== %d", from): size == float64(from), fmt.Sprintf("!= %d", from): size != float64(from),
			fmt.Sprintf("= %d", from): size >= float64(from), fmt.Sprintf(">= %d", from): size >= float64(from), fmt.Sprintf("> %d", from): size > float64(from),
			fmt.Sprintf("<= %d", from): size <= float64(from), fmt.Sprintf("< %d", from): size < float64(from),
			fmt.Sprintf("<or> %d <or> %d", from, to):      size == float64(from) || size == float64(to),
			fmt.Sprintf("<range-in> [ %d %d ]", from, to): size >= float64(from) && size <= float64(to),
			fmt.Sprintf("<range-in> ( %d %d )", from, to): size > float64(from) && size < float64(to),
			fmt.Sprintf("<range-in> [%d %d)", from, to):   size >= float64(from) && size < float64(to),
		} {
			if got := matches("size", expression, d); got != want {
				t.Errorf("%q matches %v GiB: %v, want %v", expression, size, got, want)
			}
		}
	}
	// A fact that is missing reads "none", for every text.
	for name, k := range kinds {
		if k == text && name != "name" && (!matches(name, "NONE", ipa.BlockDevice{}) || matches(name, "s!= none", ipa.BlockDevice{})) {
			t.Errorf("missing %s is not none", name)
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"s== a", "<or> a <or> b", "<range-in> [ 1 2 )", ">= 5", "= 1", "<in>", "s>x", "nan", "<all-in> a b"} {
		f.Add("size", seed)
		f.Add("model", seed)
	}
	f.Fuzz(func(t *testing.T, name, expression string) {
		parsed, err := Parse(map[string]any{name: expression})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("Parse = %v; want ErrInvalid", err)
			}
			return
		}
		parsed.Match(disk(), map[string][]string{name: {expression}})
	})
}
