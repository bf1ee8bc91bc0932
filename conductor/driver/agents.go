package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferric/api/agentclient"
	"ferric/api/ipa"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// ErrNoAgent says that no agent has announced itself since the machine booted.
var ErrNoAgent = errors.New("no agent has sent a heartbeat since the machine was switched on")

// ErrAgentLost says that the agent is not the one any more that was told something.
var ErrAgentLost = errors.New("the agent was lost")

// Agents is how the agents in the ramdisks are spoken to, and when one that runs
// already is gone on with; the names are Ironic's. The zero value has the
// defaults but for the fast track, which is off.
type Agents struct {
	// CommandTimeout is how long an agent has to answer.
	CommandTimeout time.Duration `ini:"agent.command_timeout"`
	// MaxCommandAttempts is how often an agent is tried that cannot be connected to.
	MaxCommandAttempts int `ini:"agent.max_command_attempts"`
	// VerifyCA is what agents prove themselves by that send no certificate with
	// their heartbeats: True for the authorities of the system, the path of a
	// file of authorities, or False for nothing. driver_info agent_verify_ca of
	// a node goes before it.
	VerifyCA string `ini:"agent.verify_ca"`
	// FastTrack goes on with an agent that runs already instead of booting the
	// machine anew, and leaves it running after inspection and cleaning;
	// driver_info fast_track of a node goes before it.
	FastTrack bool `ini:"deploy.fast_track"`
	// FastTrackTimeout is how old the last heartbeat of such an agent may be.
	FastTrackTimeout time.Duration `ini:"deploy.fast_track_timeout"`
}

// DefaultAgents has Ironic's defaults.
func DefaultAgents() Agents {
	return Agents{CommandTimeout: time.Minute, MaxCommandAttempts: 3, VerifyCA: "True", FastTrackTimeout: 5 * time.Minute}
}

// Validate names an option whose value cannot be.
func (a Agents) Validate() error {
	if _, _, err := authorities(a.VerifyCA); err != nil {
		return fmt.Errorf("[agent]verify_ca: %w", err)
	}
	return nil
}

// Of returns a client of the agent that runs on the node.
func (a Agents) Of(n *store.Node) (*agentclient.Client, error) {
	url := n.DriverInternalInfo.String(KeyAgentURL)
	if url == "" {
		return nil, ErrNoAgent
	}
	o := agentclient.Options{Timeout: a.CommandTimeout, Attempts: a.MaxCommandAttempts}
	ca := n.DriverInternalInfo.String(KeyAgentVerifyCA)
	if ca == "" {
		wanted := a.VerifyCA
		if own, ok := n.DriverInfo["agent_verify_ca"]; ok && own != nil {
			wanted = fmt.Sprint(own)
		}
		var err error
		if ca, o.Insecure, err = authorities(wanted); err != nil {
			return nil, Invalid("agent_verify_ca of node %s: %v", n.Label(), err)
		}
	}
	return agentclient.NewWith(url, n.DriverInternalInfo.String(KeyAgentToken), ca, o), nil
}

// authorities reads what verify_ca names: "" are those of the system.
func authorities(verify string) (pem string, insecure bool, err error) {
	if verify == "" {
		return "", false, nil
	}
	if yes, err := boolean(verify); err == nil {
		return "", !yes, nil
	}
	text, err := os.ReadFile(verify)
	if err != nil {
		return "", false, fmt.Errorf("%q is neither True nor False nor a file of certificates: %w", verify, err)
	}
	return string(text), false, nil
}

// boolean reads the spellings of oslo's boolean.
func boolean(text string) (bool, error) {
	switch text = strings.ToLower(strings.TrimSpace(text)); text {
	case "yes", "on", "y":
		return true, nil
	case "no", "off", "n":
		return false, nil
	}
	return strconv.ParseBool(text)
}

// ValidateFastTrack checks driver_info fast_track of a node.
func (a Agents) ValidateFastTrack(n *store.Node) error {
	if v, ok := n.DriverInfo["fast_track"]; ok && v != nil {
		if _, err := boolean(fmt.Sprint(v)); err != nil {
			return Invalid("fast_track %v in driver_info of node %s is no boolean.", v, n.Label())
		}
	}
	return nil
}

// WantsFastTrack says whether a machine of the node that runs an agent already
// is to be gone on with, rather than booted anew.
func (a Agents) WantsFastTrack(n *store.Node) bool {
	if v, ok := n.DriverInfo["fast_track"]; ok && v != nil {
		wanted, err := boolean(fmt.Sprint(v))
		return wanted && err == nil
	}
	return a.FastTrack
}

// servicing are states in which the machine runs somebody's instance.
var servicing = []provision.State{provision.Servicing, provision.ServiceWait, provision.ServiceHold, provision.ServiceFailed}

// Keeps says whether the agent is to be left running and known when what the
// node is doing ends: what failed is not gone on with (deploy flow, section 3.1).
func (a Agents) Keeps(n *store.Node) bool {
	return a.WantsFastTrack(n) && n.LastError == nil && !slices.Contains(servicing, n.ProvisionState)
}

// askPatience bounds the question whether an agent is still there.
const askPatience = 5 * time.Second

// Heard says whether the node's agent was heard of lately, and when it was last.
func (a Agents) Heard(n *store.Node) (last string, lately bool) {
	limit := a.FastTrackTimeout
	if limit <= 0 {
		limit = DefaultAgents().FastTrackTimeout
	}
	last = n.DriverInternalInfo.String(KeyAgentLastHeartbeat)
	at, err := time.Parse(store.HeartbeatLayout, last)
	return last, err == nil && time.Since(at) <= limit && n.DriverInternalInfo.String(KeyAgentURL) != ""
}

// AtHand says whether the next operation may go on with the agent that runs on
// the machine: fast track is wanted and not ruled out, the machine is on, the
// agent was heard of lately, and it answers and is idle. Anything else is told
// by why, and the machine is to be booted.
func (a Agents) AtHand(ctx context.Context, n *store.Node, p Power) (yes bool, why string) {
	if !a.Keeps(n) {
		return false, "fast track is off, or ruled out by an earlier error"
	}
	agent, err := a.Of(n)
	if err != nil {
		return false, err.Error()
	}
	if last, lately := a.Heard(n); !lately {
		return false, fmt.Sprintf("the last heartbeat of its agent is too old (%s)", last)
	}
	if state, err := p.PowerState(ctx, n); err != nil || state != PowerOn {
		return false, fmt.Sprintf("the machine is not known to be on (%s, %v)", state, err)
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	commands, err := agent.Commands(ctx)
	if err != nil {
		return false, fmt.Sprintf("its agent does not answer: %v", err)
	}
	if i := slices.IndexFunc(commands, func(c ipa.Result) bool { return c.Status == ipa.StatusRunning }); i >= 0 {
		return false, fmt.Sprintf("its agent is busy with %s", commands[i].Name)
	}
	return true, ""
}
