package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
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

// CreateDeployTemplate inserts p and fills its ID and CreatedAt.
func (s *Store) CreateDeployTemplate(ctx context.Context, p *DeployTemplate) error {
	p.CreatedAt = now()
	return s.insert(ctx, &p.ID, "deploy template "+p.Name, `INSERT INTO deploy_templates (uuid, name, steps, extra, created_at)
		VALUES (:uuid, :name, :steps, :extra, :created_at)`, p)
}

// SaveDeployTemplate writes the changeable columns of p.
func (s *Store) SaveDeployTemplate(ctx context.Context, p *DeployTemplate) error {
	t := now()
	p.UpdatedAt = &t
	return s.update(ctx, "deploy template "+p.Name, `UPDATE deploy_templates SET name = :name, steps = :steps, extra = :extra, updated_at = :updated_at
		WHERE id = :id`, p)
}

// DeployTemplate finds a template by UUID or name.
func (s *Store) DeployTemplate(ctx context.Context, ident string) (*DeployTemplate, error) {
	p := new(DeployTemplate)
	if err := s.db.GetContext(ctx, p, "SELECT * FROM deploy_templates WHERE uuid = ? OR name = ?", ident, ident); err != nil {
		return nil, notFound(err, "deploy template %s", ident)
	}
	return p, nil
}

// DeployTemplates lists templates.
func (s *Store) DeployTemplates(ctx context.Context, q Query) ([]*DeployTemplate, error) {
	return list[DeployTemplate](ctx, s, "SELECT * FROM deploy_templates", "deploy_templates", q)
}

// DeleteDeployTemplate removes a template.
func (s *Store) DeleteDeployTemplate(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, "DELETE FROM deploy_templates WHERE id = ?", id)
	return err
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

// CreateRunbook inserts b and fills its ID and CreatedAt.
func (s *Store) CreateRunbook(ctx context.Context, b *Runbook) error {
	b.CreatedAt = now()
	return s.insert(ctx, &b.ID, "runbook "+b.Name, `INSERT INTO runbooks
		(uuid, name, description, public, owner, disable_ramdisk, steps, traits, extra, created_at)
		VALUES (:uuid, :name, :description, :public, :owner, :disable_ramdisk, :steps, :traits, :extra, :created_at)`, b)
}

// ChangeRunbook applies change to the runbook as it is now and saves it. change
// only touches the row.
func (s *Store) ChangeRunbook(ctx context.Context, id int64, change func(b *Runbook) error) (*Runbook, error) {
	b := new(Runbook)
	err := s.write(ctx, func(tx *sqlx.Tx) error {
		if err := tx.Get(b, "SELECT * FROM runbooks WHERE id = ?", id); err != nil {
			return notFound(err, "runbook #%d", id)
		}
		if err := change(b); err != nil {
			return err
		}
		t := now()
		b.UpdatedAt = &t
		_, err := tx.NamedExec(`UPDATE runbooks SET name = :name, description = :description, public = :public, owner = :owner,
			disable_ramdisk = :disable_ramdisk, steps = :steps, traits = :traits, extra = :extra, updated_at = :updated_at WHERE id = :id`, b)
		if err != nil {
			return fmt.Errorf("save runbook %s: %w", b.Name, constraint(err))
		}
		return nil
	})
	return b, err
}

// Runbook finds a runbook by UUID or name.
func (s *Store) Runbook(ctx context.Context, ident string) (*Runbook, error) {
	b := new(Runbook)
	if err := s.db.GetContext(ctx, b, "SELECT * FROM runbooks WHERE uuid = ? OR name = ?", ident, ident); err != nil {
		return nil, notFound(err, "runbook %s", ident)
	}
	return b, nil
}

// Runbooks lists runbooks.
func (s *Store) Runbooks(ctx context.Context, q Query) ([]*Runbook, error) {
	return list[Runbook](ctx, s, "SELECT * FROM runbooks", "runbooks", q)
}

// DeleteRunbook removes a runbook.
func (s *Store) DeleteRunbook(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, "DELETE FROM runbooks WHERE id = ?", id)
	return err
}

// insert runs an INSERT with the named values of row and puts the new id into id.
func (s *Store) insert(ctx context.Context, id *int64, what, query string, row any) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.NamedExec(query, row)
		if err != nil {
			return fmt.Errorf("create %s: %w", what, constraint(err))
		}
		*id, err = res.LastInsertId()
		return err
	})
}

// update runs an UPDATE of one row with the named values of row.
func (s *Store) update(ctx context.Context, what, query string, row any) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.NamedExec(query, row)
		if err != nil {
			return fmt.Errorf("save %s: %w", what, constraint(err))
		}
		if rows, err := res.RowsAffected(); err != nil || rows == 0 {
			return fmt.Errorf("save %s: %w", what, ErrNotFound)
		}
		return nil
	})
}
