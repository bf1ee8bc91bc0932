package ironic

// Port is a network interface of a node (REST contract, section 4).
type Port struct {
	UUID                string         `json:"uuid"`
	Address             string         `json:"address"` // MAC, lower case
	NodeUUID            string         `json:"node_uuid"`
	Name                *string        `json:"name"`
	Description         *string        `json:"description"`
	Vendor              *string        `json:"vendor"`
	Category            *string        `json:"category"`
	PortgroupUUID       *string        `json:"portgroup_uuid"`
	PXEEnabled          bool           `json:"pxe_enabled"`
	IsSmartNIC          bool           `json:"is_smartnic"`
	PhysicalNetwork     *string        `json:"physical_network"`
	LocalLinkConnection map[string]any `json:"local_link_connection"`
	InternalInfo        map[string]any `json:"internal_info"`
	Extra               map[string]any `json:"extra"`
	DynamicPortgroup    bool           `json:"available_for_dynamic_portgroup"` // since 1.111
	CreatedAt           *Time          `json:"created_at"`
	UpdatedAt           *Time          `json:"updated_at"`
	Links               []Link         `json:"links"`
}

// Ports is a page of ports; Next is the address of the page after it.
type Ports struct {
	Ports []Port `json:"ports"`
	Next  string `json:"next,omitempty"`
}
