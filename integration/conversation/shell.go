package conversation

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"ferric/integration/lab"
)

// Limits of one command in the machine's debug shell. The shell, which wants to know what terminal it has, swallows what
// is typed while it starts.
const (
	shellTimeout = 90 * time.Second
	shellDeaf    = 10 * time.Second
)

// Shell runs a command in the debug shell on the machine's console (ipa-debug=1) and returns what it printed. What the
// machine itself says meanwhile is left out.
func Shell(ctx context.Context, n *lab.Node, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, shellTimeout)
	defer cancel()
	for {
		out, err := try(ctx, n, command)
		if errors.Is(err, errDeaf) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("run %q in the machine: %w", command, err)
		}
		return out, nil
	}
}

var errDeaf = errors.New("the shell does not begin with the command")

// try types the command once.
func try(ctx context.Context, n *lab.Node, command string) (string, error) {
	mark := n.Console.Mark()
	tag := fmt.Sprintf("shell-%d", mark)
	// The console shows what is typed: the quotes keep it apart from what is printed.
	if _, err := fmt.Fprintf(n.Console, "\recho %[1]s'-'begin; %[2]s; echo %[1]s'-'end\r", tag, command); err != nil {
		return "", err
	}
	soon, cancel := context.WithTimeout(ctx, shellDeaf)
	defer cancel()
	begin, err := n.Console.WaitFor(soon, mark, regexp.MustCompile(tag+"-begin"))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errDeaf, err)
	}
	end, err := n.Console.WaitFor(ctx, begin.Number, regexp.MustCompile(tag+"-end"))
	if err != nil {
		return "", err
	}
	var out []string
	for _, line := range n.Console.Lines(begin.Number + 1) {
		if line.Number >= end.Number {
			break
		}
		if !strings.HasPrefix(line.Text, "[") { // "[   12.345678] agent: …"
			out = append(out, line.Text)
		}
	}
	return strings.Join(out, "\n"), nil
}
