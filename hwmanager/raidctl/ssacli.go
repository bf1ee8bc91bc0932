package raidctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ssacli is the dialect of HPE's ssacli, and of hpssacli before it (HPE Smart
// Storage Administrator User Guide, chapter "SSA CLI"). Its output is for people.
type ssacli struct{ tool }

// text runs a command. The tool does not always end with a status other than 0
// when it fails: lines of its output that begin with "Error:" say so.
func (s *ssacli) text(ctx context.Context, change bool, args ...string) ([]byte, error) {
	limit := readLimit
	if change {
		limit = changeLimit
	}
	out, failed := s.run(ctx, limit, args...)
	if err := ssacliError(out); err != nil {
		return nil, fmt.Errorf("%s: %w", s.command(args), err)
	}
	if failed != nil {
		if text := excerpt(out); text != "" && change {
			failed = fmt.Errorf("%w: %s", failed, text)
		}
		return nil, fmt.Errorf("%s: %w", s.command(args), failed)
	}
	return out, nil
}

// ssacliError is what the output says of a failure.
func ssacliError(out []byte) error {
	lines := strings.Split(string(out), "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		text, ok := strings.CutPrefix(line, "Error:")
		if !ok && !strings.HasPrefix(line, "Syntax error") {
			continue
		}
		if !ok {
			text = line
		}
		// The text goes on until an empty line.
		for _, more := range lines[i+1:] {
			if more = strings.TrimSpace(more); more == "" {
				break
			}
			text += " " + more
		}
		text = excerpt([]byte(text))
		if lower := strings.ToLower(text); strings.Contains(lower, "no controllers detected") || strings.Contains(lower, "controller identified by") && strings.Contains(lower, "not detected") {
			return fmt.Errorf("%w: %s", errNoController, text)
		}
		return errors.New(cmp.Or(text, "it says \"Error:\" and no more"))
	}
	return nil
}

func (s *ssacli) count(ctx context.Context) (int, error) {
	all, err := s.read(ctx)
	return len(all), err
}

func (s *ssacli) read(ctx context.Context) ([]*Controller, error) {
	out, err := s.text(ctx, false, "ctrl", "all", "show", "config", "detail")
	if errors.Is(err, errNoController) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := parseSSACLI(out)
	if err != nil {
		return nil, fmt.Errorf("%s ctrl all show config detail: %w", s.name(), err)
	}
	for _, c := range all {
		c.Tool, c.backend = s.name(), s
	}
	return all, nil
}

// ssacliLevels are the levels in the words of the tool.
func ssacliLevels() map[string]string {
	return map[string]string{"0": "0", "1": "1", "5": "5", "6": "6", "1+0": "1+0", "5+0": "50", "6+0": "60"}
}

// create makes a volume: on an array that an earlier one of the same disks has
// made, or on disks. Those of levels 5+0 and 6+0 have two parity groups, as they
// have by default. "forced" answers the tool's questions.
func (s *ssacli) create(ctx context.Context, c *Controller, v *plannedVolume) error {
	args := []string{"ctrl", c.ref}
	array := ""
	for _, d := range c.Disks {
		if slices.Contains(v.disks, d.ID) && d.group != "" {
			array = d.group
		}
	}
	if array != "" {
		args = append(args, "array", array, "create", "type=ld")
	} else {
		args = append(args, "create", "type=ld", "drives="+strings.Join(v.disks, ","))
	}
	args = append(args, "raid="+ssacliLevels()[v.level])
	if v.size > 0 {
		args = append(args, fmt.Sprintf("size=%d", v.size>>20)) // MiB
	} else {
		args = append(args, "size=max")
	}
	_, err := s.text(ctx, true, append(args, "logicaldrivelabel="+v.name, "forced")...)
	return err
}

func (s *ssacli) remove(ctx context.Context, c *Controller, v *Volume) error {
	_, err := s.text(ctx, true, "ctrl", c.ref, "ld", v.ID, "delete", "forced")
	return err
}

// clearForeign has nothing to do: these controllers take over what disks bring.
func (*ssacli) clearForeign(context.Context, *Controller) error { return nil }

var errNoJBOD = errors.New("these controllers do not switch single disks between RAID and JBOD")

func (*ssacli) expose(context.Context, *Controller, *Disk) error  { return errNoJBOD }
func (*ssacli) reclaim(context.Context, *Controller, *Disk) error { return errNoJBOD }
