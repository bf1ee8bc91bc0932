package raidctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// object is one of the tool's JSON objects.
type object map[string]any

// storcliReply is what the tool says of one controller.
type storcliReply struct {
	status object
	data   object
}

// Outcomes of commands of the tool that are no failures to everybody.
var errNoController = errors.New("no controller is found")

// parseStorcli reads the JSON of "storcli … J". Lines before it (a banner, a
// warning of the driver) and after it are skipped. Serial numbers may come with
// control characters, which JSON does not have.
func parseStorcli(out []byte) ([]storcliReply, error) {
	clean := bytes.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, out)
	var document struct {
		Controllers []struct {
			Status object `json:"Command Status"`
			Data   any    `json:"Response Data"`
		}
	}
	err := errors.New("there is no JSON in it")
	for at, tries := 0, 0; tries < 8; tries++ {
		next := bytes.IndexByte(clean[at:], '{')
		if next < 0 {
			break
		}
		at += next
		document.Controllers = nil
		err = json.NewDecoder(bytes.NewReader(clean[at:])).Decode(&document)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("its output is cut off after %d bytes", len(out))
		}
		if err == nil && document.Controllers != nil {
			var replies []storcliReply
			for _, c := range document.Controllers {
				data, _ := c.Data.(map[string]any)
				replies = append(replies, storcliReply{c.Status, data})
			}
			return replies, nil
		}
		at++
	}
	return nil, fmt.Errorf("its output is not understood (%w): %q", err, excerpt(out))
}

// excerpt is the beginning of an output, for error messages.
func excerpt(out []byte) string {
	text := strings.Join(strings.Fields(string(out)), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// err is nil if the command succeeded. The tool's words are in Description and,
// for each object, in Detailed Status.
func (r storcliReply) err() error {
	if strings.EqualFold(r.status.text("Status"), "Success") {
		return nil
	}
	words := []string{r.status.text("Description")}
	if words[0] == "None" {
		words = nil
	}
	for _, d := range r.status.list("Detailed Status") {
		message := d.text("ErrMsg")
		if strings.EqualFold(d.text("Status"), "Success") || message == "" || message == "-" {
			if code := d.text("ErrCd"); !strings.EqualFold(d.text("Status"), "Success") && code != "" && code != "0" {
				message = "error code " + code
			} else {
				continue
			}
		}
		if !slices.Contains(words, message) {
			words = append(words, message)
		}
	}
	text := strings.Join(words, ": ")
	if text == "" {
		text = "status " + strconv.Quote(r.status.text("Status"))
	}
	if lower := strings.ToLower(text); strings.Contains(lower, "no controller found") || strings.Contains(lower, "controller not found") {
		return fmt.Errorf("%w: %s", errNoController, text)
	}
	return errors.New(text)
}

// text is a value as text; "" if there is none. The tool writes "-", "N/A" and
// "NA" for what it does not know.
func (o object) text(keys ...string) string {
	for _, key := range keys {
		text := ""
		switch v := o[key].(type) {
		case string:
			text = strings.Join(strings.Fields(v), " ")
		case float64:
			text = strconv.FormatFloat(v, 'f', -1, 64)
		}
		if text != "" && text != "-" && text != "N/A" && text != "NA" {
			return text
		}
	}
	return ""
}

// number is a value that is a number, however it is written.
func (o object) number(keys ...string) (int64, bool) {
	for _, key := range keys {
		switch v := o[key].(type) {
		case float64:
			if v >= 0 && v <= maxSize {
				return int64(v), true
			}
		case string:
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil && n >= 0 && n <= maxSize {
				return n, true
			}
		}
	}
	return 0, false
}

// in is the object of the first of the keys that has one; never nil.
func (o object) in(keys ...string) object {
	for _, key := range keys {
		if v, ok := o[key].(map[string]any); ok {
			return v
		}
	}
	return object{}
}

// list are the objects of the first of the keys that has a list.
func (o object) list(keys ...string) []object {
	for _, key := range keys {
		items, ok := o[key].([]any)
		if !ok {
			continue
		}
		var list []object
		for _, item := range items {
			if v, ok := item.(map[string]any); ok {
				list = append(list, v)
			}
		}
		return list
	}
	return nil
}

// keys are the names in the object, in order.
func (o object) keys() []string { return slices.Sorted(maps.Keys(o)) }

// size is a size of the tool: its GB are of 1024.
func (o object) size(key string) int64 {
	size, err := parseSize(o.text(key), 1024)
	if err != nil {
		return 0
	}
	return size
}
