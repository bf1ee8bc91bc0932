package hwmanager

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"ferric/api/ipa"
)

// NewStep makes a step whose arguments have the type A, a struct: run gets them
// decoded and checked. d is the declaration without ArgsInfo, which comes from
// the fields of A:
//
//		type updateArgs struct {
//			URL   string   `json:"url" doc:"where the image is" required:"true"`
//			Slot  int      `json:"slot" doc:"slot to write" default:"1" min:"1" max:"7"`
//			Mode  string   `json:"mode" doc:"when it takes effect" default:"reset" enum:"now,reset"`
//			Disks []string `json:"disks" doc:"by serial number" min:"1"`
//		}
//
//	  - json is the name; a field with "-" is no argument.
//	  - required refuses a call without it. An argument that is null is absent.
//	  - default is its value if it is absent: as text for text and durations, else
//	    as JSON; "a,b" for a list.
//	  - enum lists the values, for a list those of its elements.
//	  - min and max bound a number or a duration, the characters of a text, the
//	    elements of a list or of a map.
//
// A field is a text, bool, number, time.Duration (text such as "90s", or
// seconds), []byte (base64), a struct, a pointer, slice or map[string] of these,
// any, or of a type with UnmarshalJSON or UnmarshalText. Structs in it follow the
// same rules. A type with the method Validate() error is asked when
// its fields are right. Arguments that A does not have are refused.
//
// Everything that is wrong with the arguments of a call is in one error of kind
// ipa.InvalidCommandParams, by the paths of the fields. A type that cannot be
// one of arguments makes a step that Step.Check refuses.
func NewStep[A any](d ipa.Step, run func(ctx context.Context, h *Host, call StepCall, args A) (any, error)) Step {
	shape := reflect.TypeFor[A]()
	step := Step{Declaration: d, problem: checkArgs(shape)}
	switch {
	case step.problem != nil:
	case d.ArgsInfo != nil:
		step.problem = fmt.Errorf("argsinfo is made of the type %s and must not be given", shape)
	case run == nil:
		step.problem = fmt.Errorf("it has no function")
	default:
		step.Declaration.ArgsInfo = argsInfo(shape)
	}
	step.Run = func(ctx context.Context, h *Host, call StepCall) (any, error) {
		if err := step.Check(); err != nil {
			return nil, err
		}
		args, err := decodeArgs[A]("arguments of step "+d.Step, call.Args)
		if err != nil {
			return nil, err
		}
		return run(ctx, h, call, args)
	}
	return step
}

// Check tells what is wrong with the step itself, whatever the machine: an
// error of kind ipa.ManagerConfiguration. A manager with such a step is set
// aside (Set.SetAside).
func (s Step) Check() error {
	d := s.Declaration
	switch {
	case d.Step == "":
		return ipa.ManagerConfiguration.New("a step has no name")
	case s.problem != nil:
		return ipa.ManagerConfiguration.New("step %.64s: %v", d.Step, s.problem)
	case s.Run == nil:
		return ipa.ManagerConfiguration.New("step %.64s: it has no function", d.Step)
	case d.Priority < 0:
		return ipa.ManagerConfiguration.New("step %.64s: its priority is %d; 0 is the least, for steps that run only when they are asked for", d.Step, d.Priority)
	}
	return nil
}

// maxFaults bounds how many faults of a call are told.
const maxFaults = 20

func decodeArgs[A any](what string, object map[string]any) (A, error) {
	var args A
	d := decoder{}
	d.structure("", object, reflect.ValueOf(&args).Elem(), 0)
	if len(d.faults) == 0 {
		return args, nil
	}
	text := strings.Join(d.faults, "; ")
	if d.more > 0 {
		text += fmt.Sprintf("; and %d more", d.more)
	}
	var none A
	return none, ipa.InvalidCommandParams.New("%s: %s", what, text)
}

// argsInfo is what a conductor is told of the arguments. What it has no place
// for stands in the descriptions.
func argsInfo(shape reflect.Type) map[string]ipa.Arg {
	fields, err := fieldsOf(shape)
	if err != nil || len(fields) == 0 {
		return nil
	}
	info := make(map[string]ipa.Arg, len(fields))
	for _, f := range fields {
		info[f.name] = ipa.Arg{Description: f.description(), Required: f.required}
	}
	return info
}

// description is the field's own, and the rules that it has.
func (f argField) description() string {
	var rules []string
	if len(f.enum) > 0 {
		rules = append(rules, "one of "+strings.Join(f.enum, ", "))
	}
	what := ""
	switch kindOf(f.shape) {
	case textArg:
		what = " characters"
	case listArg, mapArg:
		what = " elements"
	}
	if f.min != "" {
		rules = append(rules, "at least "+f.min+what)
	}
	if f.max != "" {
		rules = append(rules, "at most "+f.max+what)
	}
	if f.hasDefault {
		rules = append(rules, "default "+f.def)
	}
	if len(rules) == 0 {
		return f.doc
	}
	return strings.TrimSpace(f.doc + " (" + strings.Join(rules, "; ") + ")")
}
