package nvme

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

func TestPassthruSize(t *testing.T) {
	if size := unsafe.Sizeof(passthru{}); size != ioctlAdminCmd>>16&0x3fff {
		t.Errorf("struct nvme_passthru_cmd has %d bytes", size)
	}
}

func TestPatience(t *testing.T) {
	for name, tc := range map[string]struct {
		log   SanitizeLog
		cdw10 uint32
		size  int64
		want  time.Duration
	}{
		"crypto":               {SanitizeLog{CryptoErase: 2}, actionCryptoErase, 1 << 40, 4*time.Second + slack},
		"block":                {SanitizeLog{BlockErase: 600}, actionBlockErase, 1 << 40, 30 * time.Minute},
		"block, not reported":  {SanitizeLog{BlockErase: noEstimate}, actionBlockErase, 1 << 40, unreported},
		"overwrite, 3 passes":  {SanitizeLog{Overwrite: 3600}, actionOverwrite | 3<<passesShift, 1 << 40, 6*time.Hour + slack},
		"overwrite, 16 passes": {SanitizeLog{Overwrite: 60}, actionOverwrite, 1 << 40, 32*time.Minute + slack},
		"overwrite, unknown":   {SanitizeLog{Overwrite: noEstimate}, actionOverwrite | 1<<passesShift, slowestMedium * 3600, unreported + time.Hour},
		"absurd, 6 passes":     {SanitizeLog{Overwrite: 808464432}, actionOverwrite | 6<<passesShift, 1 << 40, longest},
		"absurd":               {SanitizeLog{Overwrite: noEstimate - 1}, actionOverwrite, 1 << 62, longest},
		"unknown action":       {SanitizeLog{}, 0, 1 << 62, unreported},
	} {
		if got := tc.log.patience(tc.cdw10, tc.size); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	good := make([]byte, identifySize)
	binary.LittleEndian.PutUint64(good, 1<<20)
	good[130] = 9
	f.Add(good)
	f.Add(make([]byte, 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := ParseNamespace(data); err == nil {
			if n.Size() <= 0 || n.BlockSize < 512 || n.keep()&(7<<9) != 0 || n.format() > 63 {
				t.Errorf("%+v", n)
			}
		}
		if c, err := ParseController(data); err == nil && len(c.Serial)+len(c.Model)+len(c.Firmware) > 68 {
			t.Errorf("%+v", c)
		}
		if l, err := ParseSlotLog(data); err == nil && (l.Active < 1 || l.Active > maxSlots || l.Next > maxSlots) {
			t.Errorf("%+v", l)
		} else if c, bad := ParseController(data); err == nil && bad == nil {
			slot, err := c.chooseSlot(l, 0, "1")
			if err == nil && slot > c.SlotCount() || slot == 1 && c.FirstReadOnly() {
				t.Errorf("slot %d of %+v", slot, c)
			}
			if size, err := c.pieceSize(); err == nil && (size < 4096 || size%4096 != 0) {
				t.Errorf("pieces of %d", size)
			}
		}
		if l, err := ParseSanitizeLog(data); err == nil {
			if p := l.patience(l.CDW10, 1<<50); p <= 0 || p > longest || l.fraction() < 0 || l.fraction() >= 1 || l.State.String() == "" {
				t.Errorf("%+v: %v", l, p)
			}
		}
	})
}

// noisy answers everything with noise.
type noisy struct{ random *rand.Rand }

func (noisy) NamespaceID(context.Context) (uint32, error) { return 1, nil }

func (n noisy) Do(_ context.Context, c *Command) error {
	if n.random.IntN(8) == 0 {
		return Status(n.random.Uint32N(1<<15) | 1)
	}
	for i := range c.Data {
		c.Data[i] = byte(n.random.Uint32() & n.random.Uint32())
	}
	return nil
}

// TestNoise: whatever a controller answers, an erase ends.
func TestNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(500) {
			d := &drive{
				transport: noisy{rand.New(rand.NewPCG(seed, 0))}, id: 1,
				Controller: Controller{OACS: 0xffff, SANICAP: 7, NN: 1},
				ns:         Namespace{Blocks: 1 << 20, BlockSize: 512, FPI: 0x80},
			}
			began := time.Now()
			d.settle(t.Context(), func(float64) {})
			d.sanitize(t.Context(), Options{Unrestricted: true}, append(purges(), overwrites()...), func(float64) {})
			d.sanitizeBy(t.Context(), purges()[0], true, func(float64) {})
			d.format(t.Context(), Options{}, func(float64) {})
			Update{
				Image: bytes.NewReader(make([]byte, 16<<10)), Size: 16 << 10, Version: "1", Activate: ActivateBest,
				Reset: func(context.Context) error { return nil },
			}.Update(t.Context(), d.transport, nil)
			if took := time.Since(began); took > 20*longest {
				t.Errorf("seed %d: %v", seed, took)
			}
		}
	})
}
