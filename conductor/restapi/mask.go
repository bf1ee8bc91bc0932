package restapi

import (
	"strings"

	"ferric/api/ironic"
)

// secretKeys are parts of the keys whose values are never shown (REST contract,
// section 3.1; the list is oslo's, with what the drivers add). Literal table.
var secretKeys = []string{
	"adminpass", "admin_pass", "password", "admin_password", "auth_token", "new_pass", "auth_password", "secret_uuid",
	"secret", "sys_pswd", "token", "configdrive", "chappassword", "encrypted_key", "private_key", "fernetkey", "sslkey",
	"passphrase", "cephclusterfsid", "octaviaheartbeatkey", "rabbitcookie", "cephmanilaclientkey", "pacemakerremoteauthkey",
	"designaterndckey", "cephadminkey", "heatauthencryptionkey", "cephclientkey", "keystonecredential",
	"barbicansimplecryptokek", "cephrgwkey", "swifthashsuffix", "migrationsshkey", "cephmdskey", "cephmonkey", "chapsecret",
	"image_request_authorization", "snmp_auth_key", "snmp_priv_key", "hex_kg_key",
}

func secretKey(key string) bool {
	key = strings.ToLower(key)
	for _, part := range secretKeys {
		if strings.Contains(key, part) {
			return true
		}
	}
	return false
}

// mask copies a JSON value with every secret in it replaced. Keys in show are
// left alone, keys in hide replaced too.
func mask(v any, show, hide string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if item != nil && key != show && (key == hide || secretKey(key)) {
				out[key] = ironic.Masked
				continue
			}
			out[key] = mask(item, show, hide)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = mask(item, show, hide)
		}
		return out
	}
	return v
}
