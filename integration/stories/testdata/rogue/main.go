// Command rogue is a plugin that does the machine what harm a program of root's
// can. Each step is one kind; the manager's name, that of the executable, says
// which question it does not answer either.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// harm are the steps. One that returns nil succeeds.
var harm = map[string]func() error{
	"bomb":      bomb,
	"daemonise": func() error { return start("idle") },
	"fill_run":  func() error { return fill("/run/full") },
	"kill_agent": func() error {
		if err := syscall.Kill(os.Getppid(), syscall.SIGKILL); err != nil {
			return err
		}
		return idle()
	},
	"good": func() error { return nil },
}

func say(format string, a ...any) { fmt.Fprintf(os.Stderr, "rogue: "+format+"\n", a...) }

func idle() error {
	time.Sleep(time.Hour)
	return nil
}

func start(method string) error {
	child := exec.Command("/proc/self/exe", method)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return child.Start()
}

func bomb() error {
	for {
		if err := start("bomb"); err != nil {
			say("no more: %v", err)
		}
	}
}

func fill(path string) error {
	say("filling %s", path)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for chunk := make([]byte, 64<<10); ; {
		if _, err := f.Write(chunk); err != nil {
			say("no more: %v", err)
			return err
		}
	}
}

func answer(key string, value any) {
	text, _ := json.Marshal(map[string]any{key: value})
	fmt.Println(string(text))
}

func main() {
	name, method := filepath.Base(os.Args[0]), os.Args[1]
	if strings.HasSuffix(name, "-"+method) { // rogue-describe and the like
		say("%s waits for the card, which does not answer", method)
		_ = idle()
	}
	switch method {
	case "idle":
		_ = idle()
	case "bomb":
		_ = bomb()
	case "describe":
		answer("result", map[string]any{"name": name, "version": "1.0.0", "sdk": "1.0",
			"methods": []string{"evaluate_hardware_support", "get_clean_steps", "execute_step"}})
	case "evaluate_hardware_support":
		answer("result", 3)
	case "get_clean_steps":
		var steps []any
		for step := range harm {
			if name != "rogue" {
				step = name + "_" + step
			}
			steps = append(steps, map[string]any{"step": step, "interface": "deploy", "priority": 0})
		}
		answer("result", steps)
	case "execute_step":
		var request struct{ Step string }
		_ = json.NewDecoder(os.Stdin).Decode(&request)
		if err := harm[strings.TrimPrefix(request.Step, name+"_")](); err != nil {
			answer("error", map[string]any{"type": "CleaningError", "message": err.Error()})
			return
		}
		answer("result", "done")
	default:
		os.Exit(3)
	}
}
