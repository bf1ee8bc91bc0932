package raidctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// storcli is the dialect of Broadcom's storcli and storcli2, and of Dell's
// perccli and perccli2, which are the same programs (Broadcom, StorCLI Reference
// Manual; Dell, PERC CLI Reference Guide). Commands are the same in all of them;
// the second generation names some members of its JSON otherwise.
type storcli struct{ tool }

// json runs a command with JSON as its output. Answers of a failed command are
// returned together with the error: they may have a part of what was asked. What is
// read in the presence of a foreign configuration that lacks disks is whole, though
// the tool calls it a failure (error code 59).
func (s *storcli) json(ctx context.Context, change bool, args ...string) ([]storcliReply, error) {
	limit := readLimit
	if change {
		limit = changeLimit
	}
	out, failed := s.run(ctx, limit, append(slices.Clone(args), "J")...)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", s.command(args), cmp.Or(failed, ctx.Err()))
	}
	replies, err := parseStorcli(out)
	if err != nil {
		if failed != nil {
			// What it says instead of JSON is the reason, if it says anything.
			if text := excerpt(out); text != "" {
				failed = fmt.Errorf("%w: %s", failed, text)
			}
			err = failed
		}
		return nil, fmt.Errorf("%s: %w", s.command(args), err)
	}
	var errs []error
	for _, r := range replies {
		if err := r.err(); err != nil && (change || len(r.data) == 0 || !strings.Contains(strings.ToLower(err.Error()), "foreign config")) {
			errs = append(errs, fmt.Errorf("%s: %w", s.command(args), err))
		}
	}
	if len(errs) == 0 && failed != nil && change {
		errs = append(errs, fmt.Errorf("%s: %w, though it reports success", s.command(args), failed))
	}
	return replies, errors.Join(errs...)
}

// numbers are those of the controllers. Host adapters, which make no volumes, are
// in a list of their own and left out.
func (s *storcli) numbers(ctx context.Context) ([]string, error) {
	replies, err := s.json(ctx, false, "show")
	if errors.Is(err, errNoController) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []string
	for _, r := range replies {
		for _, row := range r.data.list("System Overview") {
			if n := row.text("Ctl", "Ctrl"); n != "" && !slices.Contains(numbers, n) {
				if _, err := strconv.ParseUint(n, 10, 16); err == nil {
					numbers = append(numbers, n)
				}
			}
		}
	}
	return numbers, nil
}

func (s *storcli) count(ctx context.Context) (int, error) {
	numbers, err := s.numbers(ctx)
	return len(numbers), err
}

func (s *storcli) read(ctx context.Context) ([]*Controller, error) {
	numbers, err := s.numbers(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Controller
	for _, n := range numbers {
		c, err := s.controller(ctx, "/c"+n)
		if err != nil {
			return nil, err
		}
		if c != nil {
			all = append(all, c)
		}
	}
	return all, nil
}

// controller reads one; nil is one that makes no volumes.
func (s *storcli) controller(ctx context.Context, ref string) (*Controller, error) {
	replies, err := s.json(ctx, false, ref, "show", "all")
	if err != nil {
		return nil, err
	}
	if len(replies) == 0 {
		return nil, fmt.Errorf("%s %s show all: it answers nothing", s.name(), ref)
	}
	c := storcliController(replies[0].data)
	if c == nil {
		return nil, nil
	}
	c.ref, c.Name, c.Tool, c.backend = ref, strings.TrimSpace(c.Model+" "+strings.TrimPrefix(ref, "/")), s.name(), s
	// Details of disks: which commands have them depends on whether they are in
	// enclosures. One bad disk makes the command fail that tells of all others.
	enclosed := func(d *Disk) bool { return strings.Contains(d.ID, ":") }
	for command, wanted := range map[string]bool{
		ref + "/eall/sall": slices.ContainsFunc(c.Disks, enclosed),
		ref + "/sall":      slices.ContainsFunc(c.Disks, func(d *Disk) bool { return !enclosed(d) }),
	} {
		if !wanted {
			continue
		}
		replies, err := s.json(ctx, false, command, "show", "all")
		if ctx.Err() != nil {
			return nil, err
		}
		for _, r := range replies {
			c.detail(r.data)
		}
	}
	if len(c.Volumes) == 0 {
		return c, nil
	}
	replies, err = s.json(ctx, false, ref+"/vall", "show", "all")
	if err != nil {
		return nil, err
	}
	for _, r := range replies {
		c.properties(r.data)
	}
	return c, nil
}

// storcliTypes are the levels of volumes in the words of the tool.
func storcliTypes() map[string]string {
	return map[string]string{"0": "r0", "1": "r1", "5": "r5", "6": "r6", "1+0": "r10", "5+0": "r50", "6+0": "r60"}
}

// create makes a volume. Caches, strips and the like stay as the controller has
// them by default. Names of the size's unit are of 1024.
func (s *storcli) create(ctx context.Context, c *Controller, v *plannedVolume) error {
	args := []string{c.ref, "add", "vd", storcliTypes()[v.level]}
	if v.size > 0 {
		args = append(args, fmt.Sprintf("size=%dMB", v.size>>20))
	}
	args = append(args, "name="+v.name, "drives="+storcliDrives(v.disks))
	if spans(v.level) {
		args = append(args, fmt.Sprintf("pdperarray=%d", len(v.disks)/v.spans))
	}
	_, err := s.json(ctx, true, args...)
	return err
}

// storcliDrives is the list of disks in a command: each enclosure with its slots,
// or slots alone.
func storcliDrives(disks []string) string {
	var list []string
	last := ""
	for _, d := range disks {
		enclosure, slot, both := strings.Cut(d, ":")
		switch {
		case !both:
			list = append(list, d)
		case enclosure == last:
			list = append(list, slot)
		default:
			list, last = append(list, d), enclosure
		}
	}
	return strings.Join(list, ",")
}

func (s *storcli) remove(ctx context.Context, c *Controller, v *Volume) error {
	_, err := s.json(ctx, true, c.ref+"/v"+v.ID, "delete", "force")
	return err
}

func (s *storcli) clearForeign(ctx context.Context, c *Controller) error {
	_, err := s.json(ctx, true, c.ref+"/fall", "delete")
	return err
}

func (s *storcli) expose(ctx context.Context, c *Controller, d *Disk) error {
	_, err := s.json(ctx, true, c.ref+diskPath(d), "set", "jbod")
	return err
}

func (s *storcli) reclaim(ctx context.Context, c *Controller, d *Disk) error {
	become := "good"
	if strings.HasSuffix(s.name(), "2") { // of the second generation, where good is no state
		become = "uconf"
	}
	_, err := s.json(ctx, true, c.ref+diskPath(d), "set", become, "force")
	return err
}

// diskPath names a disk behind its controller.
func diskPath(d *Disk) string {
	enclosure, slot, both := strings.Cut(d.ID, ":")
	if !both {
		return "/s" + d.ID
	}
	return "/e" + enclosure + "/s" + slot
}
