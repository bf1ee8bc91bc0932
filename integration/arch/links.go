package arch

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	code    = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// LinkFaults are the links of a page to what is not there. read gives the text
// of a file, or whether a directory is there, by its path in the source.
func LinkFaults(page, text string, read func(path string) (string, error)) []string {
	var faults []string
	for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
		target, anchor, _ := strings.Cut(match[1], "#")
		if strings.Contains(target, ":") {
			continue // elsewhere
		}
		there, err := text, error(nil)
		if target != "" {
			there, err = read(path.Join(path.Dir(page), target))
		}
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("%s: the link to %s leads nowhere: %v", page, match[1], err))
		case anchor != "" && !hasHeading(there, anchor):
			faults = append(faults, fmt.Sprintf("%s: the link to %s names a section that is not there", page, match[1]))
		}
	}
	return faults
}

// hasHeading reports whether a page has a heading with that anchor.
func hasHeading(page, anchor string) bool {
	for _, match := range heading.FindAllStringSubmatch(page, -1) {
		if strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}
