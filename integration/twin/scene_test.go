package twin_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// scene is a series of requests, each of which may build on those before it.
type scene struct {
	name  string
	lines []line
}

// line is a request that is sent once per version, or a wait for the provision
// state of a node.
//
// In the files of testdata a scene begins with "== name". A line "@1.1 1.5
// latest" tells the versions of the lines after it; "none" is none at all. A
// request is method, path (under /v1/ if relative) and body; "+Header=value"
// before it adds a header, escaped as in URLs, and "@versions," its own
// versions, with commas. $name is a UUID that belongs to the name, $x300 is
// three hundred letters. "wait $name state" waits.
type line struct {
	place    string // file and number
	text     string // as in the file
	versions []version
	headers  [][2]string
	method   string
	path     string
	body     string

	node, state string
}

func (l line) String() string { return l.place + ": " + l.text }

// version is "1.8", "latest", "none" or anything malformed.
type version string

// minor is what to send, unless one of the sides does not know it yet.
func (v version) minor(newest int) (string, bool) {
	if v == "latest" {
		return fmt.Sprintf("1.%d", newest), true
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(string(v), "1.")); err == nil && strings.HasPrefix(string(v), "1.") {
		return string(v), n <= newest
	}
	return string(v), true
}

func readScenes(t *testing.T) []scene {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenes: %v", err)
	}
	slices.Sort(files)
	var scenes []scene
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		versions := []version{"latest"}
		for i, raw := range strings.Split(string(text), "\n") {
			raw = strings.TrimSpace(raw)
			switch {
			case raw == "" || strings.HasPrefix(raw, "#"):
			case strings.HasPrefix(raw, "== "):
				scenes = append(scenes, scene{name: raw[3:]})
				versions = []version{"latest"}
			case strings.HasPrefix(raw, "@") && !strings.Contains(raw, "/") && !strings.Contains(raw, ","):
				versions = nil
				for _, v := range strings.Fields(raw[1:]) {
					versions = append(versions, version(v))
				}
			default:
				l, err := readLine(raw, versions)
				if err != nil {
					t.Fatalf("%s:%d: %v", file, i+1, err)
				}
				l.place = fmt.Sprintf("%s:%d", filepath.Base(file), i+1)
				last := &scenes[len(scenes)-1]
				last.lines = append(last.lines, l)
			}
		}
	}
	return scenes
}

func readLine(text string, versions []version) (line, error) {
	l := line{text: text, versions: versions}
	rest := text
	for {
		word, after, _ := strings.Cut(rest, " ")
		switch {
		case word == "wait":
			node, state, ok := strings.Cut(after, " ")
			if !ok {
				return line{}, fmt.Errorf("%q: no state", text)
			}
			l.node, l.state = fill(node), state
			return l, nil
		case strings.HasPrefix(word, "@"):
			l.text, l.versions = after, nil
			for _, v := range strings.Split(strings.TrimSuffix(word[1:], ","), ",") {
				l.versions = append(l.versions, version(v))
			}
		case strings.HasPrefix(word, "+"):
			name, value, _ := strings.Cut(word[1:], "=")
			value, err := url.PathUnescape(value)
			if err != nil {
				return line{}, err
			}
			l.headers = append(l.headers, [2]string{name, value})
		default:
			l.method = word
			path, body, _ := strings.Cut(after, " ")
			if !strings.HasPrefix(path, "/") {
				path = "/v1/" + path
			}
			l.path, l.body = fill(path), fill(body)
			return l, nil
		}
		rest = after
	}
}

var (
	lettersPattern = regexp.MustCompile(`\$x(\d+)`)
	namePattern    = regexp.MustCompile(`\$[a-z][a-z0-9]*`)
)

// fill puts UUIDs and long texts in the place of their names.
func fill(text string) string {
	text = lettersPattern.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(s[2:]) // digits by the pattern
		return strings.Repeat("x", n)
	})
	return namePattern.ReplaceAllStringFunc(text, func(s string) string {
		return uuid.NewSHA1(uuid.NameSpaceOID, []byte(s)).String()
	})
}
