package config

import (
	"errors"
	"fmt"
	"strings"
)

// option is one assignment in a configuration file.
type option struct {
	section, option, value string
	line                   int
}

// maxOptions bounds the options of one file.
const maxOptions = 10000

// parseINI reads a configuration file in the format of oslo.config: sections
// in brackets, "name = value" or "name: value", a value continued on lines that
// begin with a blank, comments on lines that begin with "#" or ";", and one
// pair of quotes around a value taken off. Lines that are none of these are
// reported, and the others returned.
func parseINI(text string) ([]option, error) {
	var options []option
	var problems []error
	section := "DEFAULT"
	open := false // the last option may be continued
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		bare := strings.TrimLeft(line, " \t")
		switch {
		case bare == "":
			open = false
		case line[0] == '#' || line[0] == ';':
		case bare != line && open:
			options[len(options)-1].value += "\n" + bare
		case bare[0] == '[' && bare[len(bare)-1] == ']' && len(bare) > 2:
			section, open = bare[1:len(bare)-1], false
		default:
			i := strings.IndexAny(bare, "=:")
			if i < 0 || strings.TrimSpace(bare[:i]) == "" {
				open = false
				problems = append(problems, fmt.Errorf("line %d: neither a section nor an option", n))
				continue
			}
			if len(options) == maxOptions {
				return options, errors.Join(append(problems, fmt.Errorf("more than %d options", maxOptions))...)
			}
			options = append(options, option{section, strings.TrimSpace(bare[:i]), strings.TrimSpace(bare[i+1:]), n})
			open = true
		}
	}
	for i := range options {
		options[i].value = unquote(options[i].value)
	}
	return options, errors.Join(problems...)
}

func unquote(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return value[1 : n-1]
	}
	return value
}
