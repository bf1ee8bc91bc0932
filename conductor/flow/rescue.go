package flow

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// keyRescueHash in instance_info is the crypt(3) hash of the password of a
// rescue, until the machine has it. The password itself is never written down.
const keyRescueHash = "hashed_rescue_password"

// keyRescueFinalized in driver_internal_info says that users can log in already.
const keyRescueFinalized = "rescue_finalized"

// rescueStates are those in which the ramdisk of a rescue may be set up.
var rescueStates = []provision.State{
	provision.Rescue, provision.RescueWait, provision.RescueFailed, provision.UnrescueFailed,
}

// maxPassword is the longest that crypt(3) takes. Hashing takes time by the
// square of the length.
const maxPassword = 512

// rescue boots the machine of an instance into a ramdisk that mends it.
func (f *Flow) rescue(ctx context.Context, t *task.Task, req ProvisionRequest) error {
	n := t.Node
	if n.Maintenance {
		return inMaintenance(n, "rescue")
	}
	if len(req.RescuePassword) > maxPassword {
		return invalid("rescue_password has %d bytes, at most %d can be used to log in.", len(req.RescuePassword), maxPassword)
	}
	if _, err := f.rescuer(ctx, n); err != nil {
		return err
	}
	hash, err := hashPassword(f.cfg.RescuePasswordHash, req.RescuePassword)
	if err != nil {
		return err
	}
	n.InstanceInfo[keyRescueHash] = hash
	delete(n.DriverInternalInfo, keyRescueFinalized)
	return t.Start(ctx, provision.RescueIt, "", "rescue", f.startRescue)
}

// startRescue boots what lets users log in. The node is rescuing.
func (f *Flow) startRescue(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.rescuer(ctx, n)
	outcome := driver.Finished
	if err == nil {
		outcome, err = ifs.Rescue.Rescue(ctx, t)
	}
	switch {
	case err != nil:
		return f.rescueFailed(ctx, t, fmt.Sprintf("Failed to rescue node %s: %v", n.UUID, err))
	case outcome == driver.Waiting:
		return t.Process(ctx, provision.Wait, "")
	}
	return f.rescued(ctx, t)
}

// unrescue boots the instance again.
func (f *Flow) unrescue(ctx context.Context, t *task.Task) error {
	n := t.Node
	if n.Maintenance {
		return inMaintenance(n, "unrescue")
	}
	if _, err := f.rescuer(ctx, n); err != nil {
		return err
	}
	return t.Start(ctx, provision.Unrescue, "", "unrescue", f.startUnrescue)
}

// startUnrescue has the machine boot its instance. The node is unrescuing.
func (f *Flow) startUnrescue(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.rescuer(ctx, n)
	if err == nil {
		_, err = ifs.Rescue.Unrescue(ctx, t)
	}
	if err != nil {
		return f.fail(ctx, t, "Failed to unrescue node %s: %v", n.UUID, err)
	}
	delete(n.InstanceInfo, keyRescueHash)
	driver.WipeAgent(n)
	t.Event(ctx, "provision", "unrescued")
	return t.Process(ctx, provision.Done, "")
}

// rescuer finds the node's interfaces and makes sure that they can rescue it.
func (f *Flow) rescuer(ctx context.Context, n *store.Node) (driver.Interfaces, error) {
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return ifs, err
	}
	if ifs.Rescue == nil {
		return ifs, fmt.Errorf("rescue of node %s is %w", n.UUID, driver.ErrUnsupported)
	}
	err = errors.Join(ifs.Power.Validate(ctx, n), ifs.Rescue.Validate(ctx, n))
	switch {
	case errors.Is(err, driver.ErrUnsupported):
		return ifs, err
	case err != nil: // which the API answers with 500 (REST contract, section 1.2)
		return ifs, &textError{text: fmt.Sprintf("Failed to rescue instance %s of node %s. Validation failed. Error: %v", optional(n.InstanceUUID), n.UUID, err)}
	}
	return ifs, nil
}

func optional(s *string) string {
	if s == nil {
		return "None"
	}
	return *s
}

// hashPassword is crypt(3) with the named variant of SHA, which every
// distribution knows.
func hashPassword(variant, password string) (string, error) {
	v, known := map[string]shacrypt.Variant{"sha256": shacrypt.VariantSHA256, "sha512": shacrypt.VariantSHA512}[variant]
	if !known {
		return "", fmt.Errorf("[conductor]rescue_password_hash_algorithm is %q, it must be sha256 or sha512", variant)
	}
	hasher, err := shacrypt.New(shacrypt.WithVariant(v), shacrypt.WithIterations(shacrypt.IterationsDefaultOmitted))
	if err != nil {
		return "", fmt.Errorf("hash the password of the rescue: %w", err)
	}
	digest, err := hasher.Hash(password)
	if err != nil {
		return "", fmt.Errorf("hash the password of the rescue: %w", err)
	}
	return digest.Encode(), nil
}

// heartbeatRescuing gives the password to the agent, which then lets users log
// in and ends.
func (f *Flow) heartbeatRescuing(ctx context.Context, t *task.Task) error {
	n := t.Node
	if err := t.Process(ctx, provision.Resume, ""); err != nil {
		return err
	}
	agent, err := f.cfg.Agents.Of(n)
	if err != nil {
		return err
	}
	result, err := agent.Execute(ctx, "rescue.finalize_rescue", map[string]any{
		"rescue_password": n.InstanceInfo.String(keyRescueHash), "hashed": true,
	}, false)
	if err == nil && result.Status == ipa.StatusFailed {
		err = steps.Failure(result)
	}
	if err != nil {
		return f.rescueFailed(ctx, t, fmt.Sprintf("The agent of node %s could not finalize the rescue: %v", n.UUID, err))
	}
	n.DriverInternalInfo[keyRescueFinalized] = true // and the agent serves nobody any more
	if err := t.Save(ctx); err != nil {
		return err
	}
	return f.endRescueSetUp(ctx, t)
}

// endRescueSetUp ends a rescue whose machine has the password. The node is
// rescuing.
func (f *Flow) endRescueSetUp(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = ifs.Rescue.CleanUp(ctx, t)
	}
	if err != nil {
		return f.rescueFailed(ctx, t, fmt.Sprintf("Failed to clean up after the rescue of node %s: %v", n.UUID, err))
	}
	return f.rescued(ctx, t)
}

func (f *Flow) rescued(ctx context.Context, t *task.Task) error {
	delete(t.Node.InstanceInfo, keyRescueHash)
	delete(t.Node.DriverInternalInfo, keyRescueFinalized)
	driver.WipeAgent(t.Node)
	t.Event(ctx, "provision", "rescued")
	return t.Process(ctx, provision.Done, "")
}

// rescueFailed ends a rescue with a reason.
func (f *Flow) rescueFailed(ctx context.Context, t *task.Task, text string) error {
	return f.endRescue(ctx, t, text, provision.Fail)
}

// endRescue leaves a rescue by event. A machine whose rescue cannot be taken
// back needs an operator (state-machine contract, section 6).
func (f *Flow) endRescue(ctx context.Context, t *task.Task, text string, event provision.Event) error {
	t.SetError("%s", text)
	return f.leaveRescue(ctx, t, event)
}

// leaveRescue is endRescue whose reason is known.
func (f *Flow) leaveRescue(ctx context.Context, t *task.Task, event provision.Event) error {
	n := t.Node
	if err := ending(ctx, t, event); err != nil {
		return err
	}
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = ifs.Rescue.CleanUp(ctx, t)
	}
	if err != nil {
		t.SetError("%s Cleaning up failed too: %v", *n.LastError, err)
		if event == provision.Abort {
			fault := "rescue abort failure"
			n.Maintenance, n.Fault, n.MaintenanceReason = true, &fault, n.LastError
		}
	}
	delete(n.InstanceInfo, keyRescueHash)
	for _, key := range []string{keyAborting, keyEnding, keyRescueFinalized} {
		delete(n.DriverInternalInfo, key)
	}
	driver.WipeAgent(n)
	return t.Process(ctx, event, "")
}
