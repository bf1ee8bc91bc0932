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

// CreateInspectionRule inserts r and fills its ID and CreatedAt.
func (s *Store) CreateInspectionRule(ctx context.Context, r *InspectionRule) error {
	r.CreatedAt = now()
	return s.insert(ctx, &r.ID, "inspection rule "+r.UUID, `INSERT INTO inspection_rules
		(uuid, priority, description, sensitive, phase, conditions, actions, created_at)
		VALUES (:uuid, :priority, :description, :sensitive, :phase, :conditions, :actions, :created_at)`, r)
}

// SaveInspectionRule writes the changeable columns of r. What is sensitive in
// the database stays so.
func (s *Store) SaveInspectionRule(ctx context.Context, r *InspectionRule) error {
	t := now()
	r.UpdatedAt = &t
	return s.update(ctx, "inspection rule "+r.UUID, `UPDATE inspection_rules SET priority = :priority, description = :description,
		sensitive = (sensitive OR :sensitive), phase = :phase, conditions = :conditions, actions = :actions, updated_at = :updated_at WHERE id = :id`, r)
}

// InspectionRule finds a rule by UUID.
func (s *Store) InspectionRule(ctx context.Context, uuid string) (*InspectionRule, error) {
	r := new(InspectionRule)
	if err := s.db.GetContext(ctx, r, "SELECT * FROM inspection_rules WHERE uuid = ?", uuid); err != nil {
		return nil, notFound(err, "inspection rule %s", uuid)
	}
	return r, nil
}

// InspectionRules lists rules.
func (s *Store) InspectionRules(ctx context.Context, q Query) ([]*InspectionRule, error) {
	return list[InspectionRule](ctx, s, "SELECT * FROM inspection_rules", "inspection_rules", q)
}

// DeleteInspectionRule removes a rule.
func (s *Store) DeleteInspectionRule(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, "DELETE FROM inspection_rules WHERE id = ?", id)
	return err
}

// DeleteInspectionRules removes all rules.
func (s *Store) DeleteInspectionRules(ctx context.Context) error {
	_, err := s.exec(ctx, "DELETE FROM inspection_rules")
	return err
}
