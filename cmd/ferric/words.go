package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// Options of the baremetal client whose value may be missing, or be several
// words; in ours such a value is one word with its flag. Literal tables.
var (
	numberMayFollow = []string{"--wait"}
	truthMayFollow  = []string{"--pxe-enabled", "--sensitive", "--public", "--disable-ramdisk"}
	wordsFollow     = []string{"--fields", "--shards", "--device-types"}
)

// joinWords joins such options with their values. What a shell asks stays as it
// is.
func joinWords(args []string) []string {
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		return args
	}
	var joined []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch {
		case arg == "--":
			return append(joined, args[i:]...)
		case slices.Contains(numberMayFollow, arg) && isNumber(next):
			joined = append(joined, arg+"="+next)
			i++
		case slices.Contains(truthMayFollow, arg) && truths[strings.ToLower(next)] != "":
			joined = append(joined, arg+"="+truths[strings.ToLower(next)])
			i++
		case slices.Contains(wordsFollow, arg) && !strings.Contains(next, ","):
			// As far as the next option; words that are joined already are all.
			end := i + 1
			for end < len(args) && !strings.HasPrefix(args[end], "-") {
				end++
			}
			joined = append(joined, arg)
			if words := args[i+1 : end]; len(words) > 0 {
				joined[len(joined)-1] += "=" + strings.Join(words, ",")
			}
			i = end - 1
		default:
			joined = append(joined, arg)
		}
	}
	return joined
}

// truths are the words for true and false that the API understands, too.
var truths = map[string]string{
	"true": "true", "t": "true", "1": "true", "yes": "true", "y": "true", "on": "true",
	"false": "false", "f": "false", "0": "false", "no": "false", "n": "false", "off": "false",
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}
