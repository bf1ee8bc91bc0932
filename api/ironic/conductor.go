package ironic

// Conductor is a conductor process that has registered (REST contract,
// section 9).
type Conductor struct {
	Hostname       string   `json:"hostname"`
	ConductorGroup string   `json:"conductor_group"`
	Alive          bool     `json:"alive"`
	Drivers        []string `json:"drivers"`
	CreatedAt      *Time    `json:"created_at"`
	UpdatedAt      *Time    `json:"updated_at"`
	Links          []Link   `json:"links"`
}

// Conductors is a page of conductors; Next is the address of the page after it.
type Conductors struct {
	Conductors []Conductor `json:"conductors"`
	Next       string      `json:"next,omitempty"`
}
