package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// use says where an attribute can be given.
type use int

const (
	onCreate use = 1 << iota
	onSet
	onUnset
	onList // as a filter
	required
	argument // of create, without a flag
)

// kind of an attribute's value on the command line.
type kind int

const (
	text kind = iota
	number
	boolean      // --x, --no-x
	object       // KEY=VALUE, may be repeated; values are read as JSON where they are JSON
	texts        // may be repeated
	jsonDocument // JSON: as it is, @file or - for standard input
)

// attribute is one property of a resource on the command line.
type attribute struct {
	name   string // of the API
	flag   string // "" is name with dashes
	no     string // flag that says false; "" is "no-" and the flag
	kind   kind
	use    use
	values []string // that the shell offers
	// offers, unless nil, gives what the shell offers.
	offers func(c *connection) cobra.CompletionFunc
	// put is where below the resource the value is put; others are patched.
	put string
	// reset lets set take --reset-FLAG, which is what unset --FLAG does.
	reset bool
	help  string
}

func (a attribute) flagName() string {
	if a.flag != "" {
		return a.flag
	}
	return strings.ReplaceAll(a.name, "_", "-")
}

func (a attribute) noFlag() string {
	if a.no != "" {
		return a.no
	}
	return "no-" + a.flagName()
}

// values are the flags of a command by attribute.
type values map[string]any

func (n noun) flags(cmd *cobra.Command, c *connection, u use) values {
	v := values{}
	for _, a := range n.attributes {
		if a.use&u == 0 || a.use&argument != 0 && u == onCreate {
			continue
		}
		name, flags := a.flagName(), cmd.Flags()
		help := a.help
		if help == "" {
			help = strings.ReplaceAll(a.name, "_", " ")
		}
		switch {
		case u == onUnset && a.kind == object:
			v[a.name] = flags.StringArray(name, nil, "remove this `KEY`; may be repeated")
		case u == onUnset:
			v[a.name] = flags.Bool(name, false, "set it back to its default")
		case a.kind == boolean:
			v[a.name] = flags.Bool(name, false, help)
			v["no-"+a.name] = flags.Bool(a.noFlag(), false, "not: "+help)
			cmd.MarkFlagsMutuallyExclusive(name, a.noFlag())
		case a.kind == object:
			v[a.name] = flags.StringArray(name, nil, help+": `KEY=VALUE`; may be repeated")
		case a.kind == texts:
			v[a.name] = flags.StringArray(name, nil, help+"; may be repeated")
		case a.kind == jsonDocument:
			v[a.name] = flags.String(name, "", help+": `JSON`, @file, or - for standard input")
		default:
			v[a.name] = flags.String(name, "", help)
		}
		if a.reset && u == onSet {
			v["reset-"+a.name] = flags.Bool("reset-"+name, false, "set it back to the default of the driver")
			cmd.MarkFlagsMutuallyExclusive(name, "reset-"+name)
		}
		if a.values != nil && u != onUnset {
			mustComplete(cmd, name, a.values)
		}
		if a.offers != nil && u != onUnset {
			mustCompleteBy(cmd, name, a.offers(c))
		}
		if a.use&required != 0 && u == onCreate {
			if err := cmd.MarkFlagRequired(name); err != nil {
				panic(err) // the flag was defined above
			}
		}
	}
	return v
}

// read gives the values of the flags that were used.
func (n noun) read(cmd *cobra.Command, v values, u use) (map[string]any, error) {
	out := map[string]any{}
	for _, a := range n.attributes {
		flag := cmd.Flags().Lookup(a.flagName())
		no := cmd.Flags().Lookup(a.noFlag())
		if a.kind == boolean && no != nil && no.Changed {
			out[a.name] = !*v["no-"+a.name].(*bool)
			continue
		}
		if v[a.name] == nil || flag == nil || !flag.Changed {
			continue
		}
		value, err := a.parse(v[a.name], cmd.InOrStdin())
		if err != nil {
			return nil, err
		}
		out[a.name] = value
	}
	return out, nil
}

func (a attribute) parse(v any, stdin io.Reader) (any, error) {
	switch v := v.(type) {
	case *bool:
		return *v, nil
	case *[]string:
		if a.kind == texts {
			return *v, nil
		}
		return pairs("--"+a.flagName(), *v)
	case *string:
		switch a.kind {
		case number:
			n, err := strconv.Atoi(*v)
			if err != nil {
				return nil, usageError("--%s: %q is not a whole number", a.flagName(), *v)
			}
			return n, nil
		case jsonDocument:
			return readJSON("--"+a.flagName(), *v, stdin)
		}
		return *v, nil
	}
	return nil, fmt.Errorf("flag --%s has no value", a.flagName())
}

// pairs reads KEY=VALUE; a value that is JSON is that, any other text.
func pairs(flag string, list []string) (map[string]any, error) {
	out := map[string]any{}
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return nil, usageError("%s: %q is not of the form KEY=VALUE", flag, item)
		}
		out[key] = jsonOrText(value)
	}
	return out, nil
}

func jsonOrText(value string) any {
	var v any
	if json.Unmarshal([]byte(value), &v) != nil {
		return value
	}
	return v
}

// maxDocument bounds what is read of a file or of standard input.
const maxDocument = 64 << 20

// readJSON reads a JSON text, @file, or standard input for "-".
func readJSON(what, value string, stdin io.Reader) (any, error) {
	b, err := readText(value, stdin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, usageError("%s is not JSON: %v", what, err)
	}
	return v, nil
}

func readText(value string, stdin io.Reader) ([]byte, error) {
	name, isFile := strings.CutPrefix(value, "@")
	switch {
	case value == "-":
		return io.ReadAll(io.LimitReader(stdin, maxDocument))
	case isFile:
		return os.ReadFile(name)
	}
	if info, err := os.Stat(value); err == nil && info.Mode().IsRegular() {
		return os.ReadFile(value) // as the baremetal client takes it
	}
	return []byte(value), nil
}
