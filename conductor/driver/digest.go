package driver

import (
	"crypto/sha256"
	"encoding/hex"

	"ferric/conductor/store"
)

// AgentDigest tells the agents of a node apart without keeping their tokens; ""
// is no agent.
func AgentDigest(n *store.Node) string {
	token := n.DriverInternalInfo.String(KeyAgentToken)
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:16])
}
