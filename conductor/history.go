package conductor

import (
	"context"
	"time"

	"ferric/conductor/store"
)

// history is how much is kept of what was done with the nodes; nil is nothing.
func (c Config) history() *store.HistoryLimits {
	if !c.NodeHistory {
		return nil
	}
	limits := c.historyLimits()
	return &limits
}

func (c Config) historyLimits() store.HistoryLimits {
	return store.HistoryLimits{Max: c.NodeHistoryMaxEntries, Keep: time.Duration(c.NodeHistoryMinimumDays) * 24 * time.Hour}
}

// purgeHistory forgets what is too much of the nodes' history, also where no
// more is written. Batches let other changes in between.
func purgeHistory(ctx context.Context, cfg Config, db *store.Store) error {
	for batch := cfg.NodeHistoryCleanupBatchCount; batch > 0; {
		gone, err := db.PurgeHistory(ctx, cfg.historyLimits(), batch)
		if err != nil || gone < int64(batch) {
			return err
		}
	}
	return nil
}
