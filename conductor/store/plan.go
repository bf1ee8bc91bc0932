package store

import (
	"context"
	"time"
)

// PlannedStep is a step of a deploy template, which has a priority, or of a
// runbook, which has an order.
type PlannedStep struct {
	Interface string         `json:"interface"`
	Step      string         `json:"step"`
	Args      map[string]any `json:"args"`
	Priority  *int           `json:"priority,omitempty"`
	Order     *int           `json:"order,omitempty"`
}

// DeployTemplate is a row of deploy_templates: deploy steps for instances that
// have its name among their traits.
type DeployTemplate struct {
	ID        int64             `db:"id"`
	UUID      string            `db:"uuid"`
	Name      string            `db:"name"`
	Steps     List[PlannedStep] `db:"steps"`
	Extra     Object            `db:"extra"`
	CreatedAt time.Time         `db:"created_at"`
	UpdatedAt *time.Time        `db:"updated_at"`
}

var templateTable = tableOf("deploy_templates", "deploy template", "",
	func(p *DeployTemplate) head { return head{&p.ID, &p.UUID, &p.CreatedAt, &p.UpdatedAt} },
	"name", "steps", "extra")

// CreateDeployTemplate inserts p and fills its ID and CreatedAt.
func (s *Store) CreateDeployTemplate(ctx context.Context, p *DeployTemplate) error {
	return templateTable.create(ctx, s, p)
}

// ChangeDeployTemplate applies change to the deploy template as it is now and saves it. change
// only touches the row.
func (s *Store) ChangeDeployTemplate(ctx context.Context, id int64, change func(p *DeployTemplate) error) (*DeployTemplate, error) {
	return templateTable.change(ctx, s, id, change)
}

// DeployTemplate finds a deploy template by UUID.
func (s *Store) DeployTemplate(ctx context.Context, uuid string) (*DeployTemplate, error) {
	return templateTable.find(ctx, s, "uuid", uuid)
}

// DeployTemplateByName finds the deploy template of this name.
func (s *Store) DeployTemplateByName(ctx context.Context, name string) (*DeployTemplate, error) {
	return templateTable.find(ctx, s, "name", name)
}

// DeployTemplates lists deploy templates.
func (s *Store) DeployTemplates(ctx context.Context, q Query) ([]*DeployTemplate, error) {
	return templateTable.list(ctx, s, q)
}

// DeleteDeployTemplate removes a deploy template.
func (s *Store) DeleteDeployTemplate(ctx context.Context, id int64) error {
	return templateTable.delete(ctx, s, id)
}

// Runbook is a row of runbooks: steps of cleaning or servicing that were
// approved for nodes with some of its traits.
type Runbook struct {
	ID             int64             `db:"id"`
	UUID           string            `db:"uuid"`
	Name           string            `db:"name"`
	Description    *string           `db:"description"`
	Public         bool              `db:"public"`
	Owner          *string           `db:"owner"`
	DisableRamdisk bool              `db:"disable_ramdisk"`
	Steps          List[PlannedStep] `db:"steps"`
	Traits         Strings           `db:"traits"`
	Extra          Object            `db:"extra"`
	CreatedAt      time.Time         `db:"created_at"`
	UpdatedAt      *time.Time        `db:"updated_at"`
}

var runbookTable = tableOf("runbooks", "runbook", "",
	func(b *Runbook) head { return head{&b.ID, &b.UUID, &b.CreatedAt, &b.UpdatedAt} },
	"name", "description", "public", "owner", "disable_ramdisk", "steps", "traits", "extra")

// CreateRunbook inserts b and fills its ID and CreatedAt.
func (s *Store) CreateRunbook(ctx context.Context, b *Runbook) error {
	return runbookTable.create(ctx, s, b)
}

// ChangeRunbook applies change to the runbook as it is now and saves it. change
// only touches the row.
func (s *Store) ChangeRunbook(ctx context.Context, id int64, change func(b *Runbook) error) (*Runbook, error) {
	return runbookTable.change(ctx, s, id, change)
}

// Runbook finds a runbook by UUID.
func (s *Store) Runbook(ctx context.Context, uuid string) (*Runbook, error) {
	return runbookTable.find(ctx, s, "uuid", uuid)
}

// RunbookByName finds the runbook of this name.
func (s *Store) RunbookByName(ctx context.Context, name string) (*Runbook, error) {
	return runbookTable.find(ctx, s, "name", name)
}

// Runbooks lists runbooks.
func (s *Store) Runbooks(ctx context.Context, q Query) ([]*Runbook, error) {
	return runbookTable.list(ctx, s, q)
}

// DeleteRunbook removes a runbook.
func (s *Store) DeleteRunbook(ctx context.Context, id int64) error {
	return runbookTable.delete(ctx, s, id)
}
