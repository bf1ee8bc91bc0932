package store

import (
	"context"
	"time"
)

// InspectionRule is a row of inspection_rules: what is done with a node whose
// inspection found what the conditions say. Conditions and actions are the
// documents of the API.
type InspectionRule struct {
	ID          int64                `db:"id"`
	UUID        string               `db:"uuid"`
	Priority    int                  `db:"priority"`
	Description *string              `db:"description"`
	Sensitive   bool                 `db:"sensitive"`
	Phase       string               `db:"phase"`
	Conditions  List[map[string]any] `db:"conditions"`
	Actions     List[map[string]any] `db:"actions"`
	CreatedAt   time.Time            `db:"created_at"`
	UpdatedAt   *time.Time           `db:"updated_at"`
}

var inspectionRuleTable = tableOf("inspection_rules", "inspection rule", "",
	func(r *InspectionRule) head { return head{&r.ID, &r.UUID, &r.CreatedAt, &r.UpdatedAt} },
	"priority", "description", "sensitive", "phase", "conditions", "actions")

// CreateInspectionRule inserts r and fills its ID and CreatedAt.
func (s *Store) CreateInspectionRule(ctx context.Context, r *InspectionRule) error {
	return inspectionRuleTable.create(ctx, s, r)
}

// ChangeInspectionRule applies change to the rule as it is now and saves it.
// change only touches the row.
func (s *Store) ChangeInspectionRule(ctx context.Context, id int64, change func(r *InspectionRule) error) (*InspectionRule, error) {
	return inspectionRuleTable.change(ctx, s, id, change)
}

// InspectionRule finds a rule by UUID.
func (s *Store) InspectionRule(ctx context.Context, uuid string) (*InspectionRule, error) {
	return inspectionRuleTable.find(ctx, s, "uuid", uuid)
}

// InspectionRules lists rules.
func (s *Store) InspectionRules(ctx context.Context, q Query) ([]*InspectionRule, error) {
	return inspectionRuleTable.list(ctx, s, q)
}

// DeleteInspectionRule removes a rule.
func (s *Store) DeleteInspectionRule(ctx context.Context, id int64) error {
	return inspectionRuleTable.delete(ctx, s, id)
}

// DeleteInspectionRules removes all rules.
func (s *Store) DeleteInspectionRules(ctx context.Context) error {
	_, err := s.exec(ctx, "DELETE FROM inspection_rules")
	return err
}
