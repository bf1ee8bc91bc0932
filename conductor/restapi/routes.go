package restapi

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"ferric/api/ironic"
)

// route is one line of the API. Below since the resource does not exist (404).
type route struct {
	method string
	path   string // without /v1, which is optional on the wire
	since  ironic.Version
	handle handler
	limit  int64 // of the body in bytes, 0 is defaultBodyLimit
}

// routes registers the whole API (REST contract, sections 2 to 9). Literal table.
func (s *Server) routes(e *echo.Echo) {
	for _, r := range []route{
		{"GET", "/", 1, s.root, 0},
		{"GET", "/v1", 1, s.rootV1, 0},

		{"GET", "/nodes", 1, s.listNodes, 0},
		{"POST", "/nodes", 1, s.createNode, 0},
		{"GET", "/nodes/detail", 1, s.listNodesDetail, 0},
		{"GET", "/nodes/validate", 1, s.validateNodeByQuery, 0},
		{"GET", "/nodes/:node", 1, s.showNode, 0},
		{"PATCH", "/nodes/:node", 1, s.updateNode, 0},
		{"DELETE", "/nodes/:node", 1, s.deleteNode, 0},
		{"GET", "/nodes/:node/validate", 1, s.validateNode, 0},
		{"GET", "/nodes/:node/states", 1, s.showStates, 0},
		{"PUT", "/nodes/:node/states/power", 1, s.setPower, 0},
		{"PUT", "/nodes/:node/states/provision", 1, s.setProvisionState, provisionBodyLimit},
		{"PUT", "/nodes/:node/states/raid", 1, s.setRAIDConfig, 0},
		{"PUT", "/nodes/:node/maintenance", 1, s.setMaintenance, 0},
		{"DELETE", "/nodes/:node/maintenance", 1, s.unsetMaintenance, 0},
		{"GET", "/nodes/:node/management/boot_device", 1, s.showBootDevice, 0},
		{"PUT", "/nodes/:node/management/boot_device", 1, s.setBootDevice, 0},
		{"GET", "/nodes/:node/management/boot_device/supported", 1, s.listBootDevices, 0},
		{"GET", "/nodes/:node/vifs", 28, s.listVIFs, 0},
		{"POST", "/nodes/:node/vifs", 28, s.attachVIF, 0},
		{"DELETE", "/nodes/:node/vifs/:vif", 28, s.detachVIF, 0},
		{"GET", "/nodes/:node/traits", 37, s.listTraits, 0},
		{"GET", "/nodes/:node/ports", 1, s.listNodePorts, 0},
		{"GET", "/nodes/:node/ports/detail", 1, s.listNodePortsDetail, 0},
		{"POST", "/nodes/:node/ports", 1, s.refuseSubPort, 0},
		{"GET", "/nodes/:node/ports/:port", 1, s.refuseSubPort, 0},

		{"GET", "/ports", 1, s.listPorts, 0},
		{"POST", "/ports", 1, s.createPort, 0},
		{"GET", "/ports/detail", 1, s.listPortsDetail, 0},
		{"GET", "/ports/:port", 1, s.showPort, 0},
		{"PATCH", "/ports/:port", 1, s.updatePort, 0},
		{"DELETE", "/ports/:port", 1, s.deletePort, 0},

		{"GET", "/drivers", 1, s.listDrivers, 0},
		{"GET", "/drivers/:driver", 1, s.showDriver, 0},
		{"GET", "/drivers/:driver/properties", 1, s.showDriverProperties, 0},
		{"GET", "/drivers/:driver/raid/logical_disk_properties", 1, s.showLogicalDiskProperties, 0},
		{"GET", "/conductors", 49, s.listConductors, 0},
		{"GET", "/conductors/:host", 49, s.showConductor, 0},

		{"GET", "/lookup", 22, s.lookup, 0},
		{"POST", "/heartbeat/:node", 22, s.heartbeat, 0},

		{"GET", "/ferric/v1/nodes/:node/progress", 1, s.showProgress, 0},
		{"GET", "/ferric/v1/nodes/:node/events", 1, s.listEvents, 0},
		{"GET", "/ferric/v1/nodes/:node/erase_report", 1, s.showEraseReport, 0},
	} {
		methods := []string{r.method}
		if r.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		for _, method := range methods {
			e.Add(method, r.path, s.adapt(r))
		}
	}
}

// reservedNodeNames cannot be names of nodes: they are parts of the routes
// under /nodes (REST contract, section 3.3).
var reservedNodeNames = []string{"detail", "validate", "states", "vendor_passthru", "management", "maintenance",
	"vifs", "traits", "ports", "portgroups", "volume", "bios", "allocation", "history", "inventory", "children",
	"firmware", "vmedia", "get_all", "get_one", "post", "patch", "put", "delete"}

func reservedNodeName(name string) bool { return slices.Contains(reservedNodeNames, name) }
