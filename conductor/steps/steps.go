// Package steps knows what a list of clean or deploy steps is: which are to
// run, in which order, and whether the ones that a user asked for exist. It is
// pure; the runner in the package flow executes them.
package steps

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"ferric/api/ipa"
)

// Kind is a phase that runs steps. The cleaning, the deploying and the service
// of nodes differ in these names only.
type Kind struct {
	Name       string // "clean"
	List       string // driver_internal_info key of the list
	Index      string // … of the index of the current step in it
	Running    string // … that says that the agent was told to run the current step
	Command    string // … of the id that the agent gave that command
	Busy       string // … that says that the agent was busy and is to be told again
	Former     string // … of the id of the command before that, of an earlier step
	Done       string // … that says that the current step is over
	Repeated   string // … of the index of the step that was begun again because its machine was lost
	Reboot     string // … that says that the conductor itself reboots the machine
	State      string // … of what the current step left for its next run, as JSON; its name hides it from all views
	Reboots    string // … of how many reboots the current step has asked for
	NoRamdisk  string // … that says that no agent takes part
	Cached     string // … of the steps that the agent offered
	Versions   string // … of the managers' versions that they came with
	GetCommand string // agent command that lists steps
	Execute    string // agent command that runs one
	Executed   string // its name in the list of commands, without extension
	VersionArg string // parameter that carries the managers' versions
}

// Asked is the driver_internal_info key of the steps that a user asked for.
func (k Kind) Asked() string { return "user_" + k.List }

// Clean, Deploy and Service are the kinds that exist.
var (
	Clean = Kind{
		Name: "clean", List: "clean_steps", Index: "clean_step_index", Running: "clean_step_running", Command: "clean_step_command", Busy: "clean_step_busy",
		Former: "clean_step_former_command", Done: "clean_step_done", Repeated: "clean_step_repeated", State: "clean_step_secret_state", Reboots: "clean_step_reboots", Reboot: "cleaning_reboot", NoRamdisk: "cleaning_disable_ramdisk",
		Cached: "agent_cached_clean_steps", Versions: "hardware_manager_version", GetCommand: "clean.get_clean_steps",
		Execute: "clean.execute_clean_step", Executed: "execute_clean_step", VersionArg: "clean_version",
	}
	Deploy = Kind{
		Name: "deploy", List: "deploy_steps", Index: "deploy_step_index", Running: "deploy_step_running", Command: "deploy_step_command", Busy: "deploy_step_busy",
		Former: "deploy_step_former_command", Done: "deploy_step_done", Repeated: "deploy_step_repeated", State: "deploy_step_secret_state", Reboots: "deploy_step_reboots", Reboot: "deployment_reboot", NoRamdisk: "deployment_disable_ramdisk",
		Cached: "agent_cached_deploy_steps", Versions: "hardware_manager_version", GetCommand: "deploy.get_deploy_steps",
		Execute: "deploy.execute_deploy_step", Executed: "execute_deploy_step", VersionArg: "deploy_version",
	}
	Service = Kind{
		Name: "service", List: "service_steps", Index: "service_step_index", Running: "service_step_running", Command: "service_step_command", Busy: "service_step_busy",
		Former: "service_step_former_command", Done: "service_step_done", Repeated: "service_step_repeated", State: "service_step_secret_state", Reboots: "service_step_reboots", Reboot: "servicing_reboot", NoRamdisk: "service_disable_ramdisk",
		Cached: "agent_cached_service_steps", Versions: "hardware_manager_version", GetCommand: "service.get_service_steps",
		Execute: "service.execute_service_step", Executed: "execute_service_step", VersionArg: "service_version",
	}
)

// Step is an entry of the list that a node works through, as it is kept in
// driver_internal_info.
type Step struct {
	Interface       string             `json:"interface"`
	Step            string             `json:"step"`
	Priority        int                `json:"priority"`
	Args            map[string]any     `json:"args,omitempty"`
	ArgsInfo        map[string]ipa.Arg `json:"argsinfo"`
	Abortable       bool               `json:"abortable"`
	RebootRequested bool               `json:"reboot_requested"`
	RequiresRamdisk *bool              `json:"requires_ramdisk,omitempty"`
	// Restartable says that the step may be begun again after it was cut off.
	Restartable bool `json:"restartable,omitempty"`
	// OnChildren runs the step on the nodes whose parent the node is, Children
	// only on those of them, by UUID.
	OnChildren bool     `json:"execute_on_child_nodes,omitempty"`
	Children   []string `json:"limit_child_node_execution,omitempty"`
}

// ID names a step as "interface.step".
func (s Step) ID() string { return s.Interface + "." + s.Step }

// weights break ties of priority (deploy flow, section 4).
var weights = map[string]int{"vendor": 7, "power": 6, "management": 5, "firmware": 4, "deploy": 3, "bios": 2, "raid": 1}

// Sort orders steps as they are to run: by priority, ties by interface.
func Sort(list []Step) {
	slices.SortStableFunc(list, func(a, b Step) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(weights[b.Interface], weights[a.Interface]), cmp.Compare(a.Step, b.Step))
	})
}

// Offered flattens what an agent offers: a map from hardware manager to steps.
func Offered(byManager map[string][]ipa.Step) []Step {
	var list []Step
	for _, manager := range sortedKeys(byManager) {
		for _, s := range byManager[manager] {
			list = append(list, Step{
				Interface: s.Interface, Step: s.Step, Priority: s.Priority, ArgsInfo: s.ArgsInfo,
				Abortable: s.Abortable, RebootRequested: s.RebootRequested, RequiresRamdisk: s.RequiresRamdisk,
				Restartable: restartable(s),
			})
		}
	}
	return list
}

// Override sets priorities by ID; a missing ID keeps what the step has.
func Override(list []Step, priorities map[string]int) {
	for i := range list {
		if p, ok := priorities[list[i].ID()]; ok {
			list[i].Priority = p
		}
	}
}

// Automatic picks the steps with a priority above 0, in order.
func Automatic(list []Step) []Step {
	run := slices.DeleteFunc(slices.Clone(list), func(s Step) bool { return s.Priority <= 0 })
	Sort(run)
	return run
}

// Shadow puts the steps of the conductor before those of the agent, of which
// the ones with the same ID are left out.
func Shadow(own, offered []Step) []Step {
	list := slices.Clone(own)
	for _, s := range offered {
		if !slices.ContainsFunc(own, func(o Step) bool { return o.ID() == s.ID() }) {
			list = append(list, s)
		}
	}
	return list
}

// NotOfferedError names a step that a user asks for and the node does not have.
type NotOfferedError struct{ Step, Offered string }

func (e *NotOfferedError) Error() string {
	return fmt.Sprintf("node does not support the step %s; it offers %s", e.Step, e.Offered)
}

// Merge lays asked over offered: the same step takes its priority and
// arguments from asked, a priority of 0 takes it out. core are the steps of
// the conductor, which shadow those of the agent with the same ID and of which
// deploy.deploy cannot be changed.
func Merge(core, offered []Step, asked []Requested) ([]Step, error) {
	list := Shadow(core, offered)
	for _, a := range asked {
		if step, ok, err := a.reserved(); err != nil {
			return nil, err
		} else if ok {
			list = append(list, step)
			continue
		}
		i := slices.IndexFunc(list, func(s Step) bool { return s.Interface == a.Interface && s.Step == a.Step })
		if i < 0 {
			return nil, &NotOfferedError{Step: a.Interface + "." + a.Step, Offered: ids(list)}
		}
		if list[i].ID() == "deploy.deploy" {
			return nil, fmt.Errorf("step deploy.deploy cannot be changed")
		}
		list[i].Priority, list[i].Args = a.Priority, a.Args
		if err := checkArgs(list[i]); err != nil {
			return nil, err
		}
	}
	return Automatic(list), nil
}

// Check tells before the machine boots what is wrong with the steps that a
// user asks for, as far as it can be known: core are the conductor's own, and
// agent says whether there will be an agent that may offer more.
func Check(core []Step, asked []Requested, agent bool) error {
	seen := map[string]bool{}
	for _, a := range asked {
		id := a.Interface + "." + a.Step
		if _, ok, err := a.reserved(); err != nil {
			return err
		} else if ok {
			continue
		}
		if seen[id] {
			return fmt.Errorf("step %s is asked for twice", id)
		}
		seen[id] = true
		known := slices.ContainsFunc(core, func(s Step) bool { return s.ID() == id })
		if !known && agent {
			continue
		}
		if _, err := Merge(core, nil, []Requested{a}); err != nil {
			return err
		}
	}
	return nil
}

// Requested is a step that a user asks for.
type Requested struct {
	Interface string
	Step      string
	Args      map[string]any
	Priority  int
	// OnChildren and Children are as in Step.
	OnChildren bool
	Children   []string
}

// Manual turns the steps that a user asks for into a list, in the user's
// order, or names the first that is not offered or lacks an argument.
func Manual(offered []Step, asked []Requested) ([]Step, error) {
	var list []Step
	for _, a := range asked {
		if a.OnChildren { // which offer steps of their own
			list = append(list, Step{Interface: a.Interface, Step: a.Step, Args: a.Args, OnChildren: true, Children: a.Children, Restartable: Step{Step: a.Step}.Reserved()})
			continue
		}
		if step, ok, err := a.reserved(); err != nil {
			return nil, err
		} else if ok {
			list = append(list, step)
			continue
		}
		i := slices.IndexFunc(offered, func(s Step) bool { return s.Interface == a.Interface && s.Step == a.Step })
		if i < 0 {
			return nil, &NotOfferedError{Step: a.Interface + "." + a.Step, Offered: ids(offered)}
		}
		s := offered[i]
		s.Args = a.Args
		if err := checkArgs(s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// checkArgs compares the arguments of a step with what it declares.
func checkArgs(s Step) error {
	for _, name := range sortedKeys(s.ArgsInfo) {
		if _, ok := s.Args[name]; !ok && s.ArgsInfo[name].Required {
			return fmt.Errorf("step %s lacks the argument %q", s.ID(), name)
		}
	}
	for _, name := range sortedKeys(s.Args) {
		if _, ok := s.ArgsInfo[name]; !ok {
			return fmt.Errorf("step %s has no argument %q", s.ID(), name)
		}
	}
	return nil
}

func ids(list []Step) string {
	var names []string
	for _, s := range list {
		names = append(names, s.ID())
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
