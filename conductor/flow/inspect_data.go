package flow

import (
	"context"
	"encoding/json"
	"fmt"

	"ferric/conductor/inspection"
	"ferric/conductor/task"
)

// keyInspectionData in driver_internal_info says that the data of the agent is
// kept and taken: whoever goes on with the node processes it.
const keyInspectionData = "inspection_data_taken"

// keyInspectionSaved in driver_internal_info says that what was found is in the
// node's row: rules that add to something are not to add it twice.
const keyInspectionSaved = "inspection_saved"

// keepInspectionData makes durable what an agent has sent, before it is told
// that it was taken. The caller saves.
func keepInspectionData(ctx context.Context, t *task.Task, data *inspection.Data) error {
	document, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("keep the inspection data of node %s: %w", t.Node.UUID, err)
	}
	t.Node.DriverInternalInfo[keyInspectionData] = true
	return t.Store.SetInspectionData(ctx, t.Node.ID, document)
}

// resumeInspection processes the data that was kept. The node is inspecting.
func (f *Flow) resumeInspection(ctx context.Context, t *task.Task) error {
	document, err := t.Store.InspectionData(ctx, t.Node.ID)
	data := new(inspection.Data)
	if err == nil {
		err = json.Unmarshal(document, data)
	}
	if err != nil {
		return f.inspectionFailed(ctx, t, fmt.Sprintf("Failed to inspect node %s: what its agent sent cannot be read again: %v", t.Node.UUID, err))
	}
	return f.processInspection(ctx, t, data)
}
