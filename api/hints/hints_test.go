package hints

import (
	"errors"
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
		{"rotational", map[string]any{"rotational": true}, false},
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
		{"size not a number", map[string]any{"size": "big"}, "not a number"},
		{"size nan", map[string]any{"size": "nan"}, "not a number"},
		{"size without value", map[string]any{"size": ">="}, "not a number"},
		{"rotational", map[string]any{"rotational": "maybe"}, "not a boolean"},
		{"rotational number", map[string]any{"rotational": float64(1)}, "not a boolean"},
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
