package timeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/timeline"
)

var zero = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// events reads lines "second kind detail": details of states are "from>to", of
// steps "name outcome", of verbs "verb user".
func events(t *testing.T, text string) (list []timeline.Event) {
	t.Helper()
	for line := range strings.Lines(text) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) < 3 {
			continue
		}
		d, err := time.ParseDuration(words[0] + "s")
		if err != nil {
			t.Fatal(err)
		}
		e := timeline.Event{Time: zero.Add(d), Kind: words[1], Detail: words[2]}
		switch first, second, _ := strings.Cut(words[2], map[string]string{"state": ">"}[words[1]]+map[string]string{"step": " ", "verb": " "}[words[1]]); words[1] {
		case "state":
			e.Data = map[string]any{"from": first, "to": second, "request": "r"}
		case "step":
			e.Data = map[string]any{"phase": "deploy", "step": first, "outcome": second}
		case "verb":
			e.Data = map[string]any{"verb": first, "user": second, "request": "r"}
		case "progress":
			e.Data = map[string]any{"done": float64(1000)}
		}
		list = append(list, e)
	}
	return list
}

func show(list []timeline.Operation) (text string) {
	for _, o := range list {
		text += fmt.Sprintf("%s by %q %s>%s %.0fs %s %q\n", o.Name, o.User, o.From, o.To, o.Seconds, o.Outcome, o.Error)
		for _, p := range o.Parts {
			text += fmt.Sprintf("  %s %s +%.0f %.0fs %s %d\n", p.Kind, p.Name, p.Start.Sub(o.Start).Seconds(), p.Seconds, p.Outcome, p.Bytes)
		}
	}
	return text
}

func TestTimeline(t *testing.T) {
	for name, c := range map[string]struct{ events, want string }{
		"a deployment": {`
			0 verb active me
			1 state available>deploying
			1 step deploy.deploy started
			2 power rebooting requested
			4 power power on verified
			4 state deploying>wait call-back
			9 dhcp address
			9 tftp snp.efi
			10 ipxe-script the script
			11 kernel vmlinuz
			12 kernel-sent vmlinuz
			12 ramdisk initrd
			15 ramdisk-sent initrd
			20 lookup agent asked from a machine
			21 heartbeat first heartbeat of agent 1
			22 state wait call-back>deploying
			22 step deploy.write_image started
			22 state deploying>wait call-back
			39 progress image
			40 image written
			41 step deploy.write_image done
			41 state wait call-back>deploying
			42 state deploying>active`, `deploy by "me" available>active 41s done ""
  state deploying +0 3s done 0
  step deploy.deploy +0 21s done 0
  boot power +1 2s done 0
  boot firmware +3 5s done 0
  state wait call-back +3 18s done 0
  boot boot loader +8 1s done 0
  boot boot script +9 1s done 0
  boot kernel +10 1s done 0
  boot after the kernel +11 0s done 0
  boot ramdisk +11 3s done 0
  boot system start +14 5s done 0
  boot agent start +19 1s done 0
  state deploying +21 0s done 0
  step deploy.write_image +21 19s done 1000
  state wait call-back +21 19s done 0
  state deploying +40 1s done 0
`},
		"a failure, then one that goes on": {`
			0 state manageable>cleaning
			0 step deploy.erase_devices started
			3 last-error the disk is gone
			3 step deploy.erase_devices failed
			5 state cleaning>clean failed
			7 verb clean me
			8 state clean failed>cleaning`, `clean by "" manageable>clean failed 5s failed "the disk is gone"
  state cleaning +0 5s failed 0
  step deploy.erase_devices +0 3s failed 0
clean by "me" clean failed>cleaning 92s running ""
  state cleaning +0 92s running 0
`},
		"aborted, and a clock that was set back": {`
			9 state manageable>inspecting
			8 state inspecting>inspect wait
			8 verb abort me
			9 state inspect wait>inspect failed`, `inspect by "" manageable>inspect failed 0s aborted ""
  state inspecting +0 0s done 0
  state inspect wait +-1 1s aborted 0
`},
		"an undeployment goes on with a cleaning": {`
			0 state active>deleting
			1 state deleting>cleaning
			2 state cleaning>available`, `undeploy by "" active>available 2s done ""
  state deleting +0 1s done 0
  state cleaning +1 1s done 0
`},
		"its beginning is no longer kept": {`
			0 step deploy.deploy done
			1 dhcp address
			2 state deploying>active
			3 state active>available`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := show(timeline.Build(events(t, c.events), zero.Add(100*time.Second), 10))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	twice := strings.Repeat("0 state a>deploying\n1 state deploying>active\n", 3)
	if got := timeline.Build(events(t, twice), zero, 2); len(got) != 2 {
		t.Errorf("%d operations, want the last 2", len(got))
	}
}
