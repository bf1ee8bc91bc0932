package ipa

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is a failure of the agent as it stands on the wire: in a command
// result as command_error, and as faultcode/faultstring in an HTTP body.
type Error struct {
	Type    string `json:"type"`
	Code    int    `json:"code"`
	Message string `json:"message"`
	Details string `json:"details"`
}

func (e *Error) Error() string {
	if e.Details == "" || e.Details == e.Message {
		return e.Message
	}
	return e.Message + ": " + e.Details
}

// Kind is a type of error of the protocol: its name, HTTP status and the
// message that never changes; without one the details are the message, too.
// Use New to make an error of that type.
type Kind struct {
	Type    string
	Code    int
	Message string
}

// New makes an error of this kind; details say what happened to what.
func (k Kind) New(format string, args ...any) *Error {
	details := fmt.Sprintf(format, args...)
	message := k.Message
	if message == "" {
		message = details
	}
	return &Error{Type: k.Type, Code: k.Code, Message: message, Details: details}
}

// Is reports whether err is, or wraps, an error of this kind.
func (k Kind) Is(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Type == k.Type
}

// The error types of the agent protocol (agent contract, section "Error body
// and error types"). This list is a table; it may grow long.
var (
	InvalidContent       = Kind{"InvalidContentError", http.StatusBadRequest, "Invalid request body"}
	InvalidCommand       = Kind{"InvalidCommandError", http.StatusBadRequest, "Invalid command"}
	InvalidCommandParams = Kind{"InvalidCommandParamsError", http.StatusBadRequest, "Invalid command parameters"}
	NotFound             = Kind{"NotFound", http.StatusNotFound, "Not found"}
	ObjectNotFound       = Kind{"RequestedObjectNotFoundError", http.StatusNotFound, "Not found"}
	DeviceNotFound       = Kind{"DeviceNotFound", http.StatusNotFound, "Error finding the disk or partition device to deploy the image onto"}
	ImageDownloadTimeout = Kind{"ImageDownloadTimeoutError", http.StatusRequestTimeout, "Image download timeout"}
	AgentIsBusy          = Kind{"AgentIsBusy", http.StatusConflict, "Agent is busy"}
	VersionMismatch      = Kind{"VersionMismatch", http.StatusConflict, "Hardware managers version mismatch, reload agent with correct version"}
	CommandExecution     = Kind{"CommandExecutionError", http.StatusInternalServerError, "Command execution failed"}

	ImageDownload           = Kind{"ImageDownloadError", http.StatusInternalServerError, "Error downloading image"}
	ImageDownloadOutOfSpace = Kind{"ImageDownloadOutofSpaceError", http.StatusInternalServerError, "Error downloading image"}
	ImageDownloadFatal      = Kind{"ImageDownloadFatalError", http.StatusInternalServerError, "Error downloading image"}
	ImageChecksum           = Kind{"ImageChecksumError", http.StatusInternalServerError, "Error verifying image checksum"}
	ImageWrite              = Kind{"ImageWriteError", http.StatusInternalServerError, "Error writing image to device"}
	InvalidImage            = Kind{"InvalidImage", http.StatusInternalServerError, "The provided image is not valid for use"}

	Cleaning              = Kind{"CleaningError", http.StatusInternalServerError, "Clean step failed"}
	Deployment            = Kind{"DeploymentError", http.StatusInternalServerError, "Deploy step failed"}
	Servicing             = Kind{"ServicingError", http.StatusInternalServerError, "Service step failed"}
	BlockDeviceErase      = Kind{"BlockDeviceEraseError", http.StatusInternalServerError, "Error erasing block device"}
	BlockDeviceFailed     = Kind{"BlockDeviceError", http.StatusInternalServerError, "Block device caused unknown error"}
	SoftwareRAID          = Kind{"SoftwareRAIDError", http.StatusInternalServerError, "Software RAID caused unknown error"}
	ProtectedDevice       = Kind{"ProtectedDeviceError", http.StatusInternalServerError, ""} // protected what on which device
	FileSystemUnsupported = Kind{"FileSystemNotSupported", http.StatusInternalServerError, ""}

	MethodNotFound       = Kind{"HardwareManagerMethodNotFound", http.StatusInternalServerError, "No HardwareManager found to handle method"}
	ManagerNotFound      = Kind{"HardwareManagerNotFound", http.StatusInternalServerError, "No valid HardwareManager found"}
	ManagerConfiguration = Kind{"HardwareManagerConfigurationError", http.StatusInternalServerError, "Hardware manager configuration error"}
	IncompatibleMethod   = Kind{"IncompatibleHardwareMethodError", http.StatusInternalServerError, "HardwareManager method is not compatible with hardware"}

	SystemReboot          = Kind{"SystemRebootError", http.StatusInternalServerError, "Error rebooting system"}
	ClockSync             = Kind{"ClockSyncError", http.StatusInternalServerError, "Error syncing time to hardware clock"}
	VirtualMediaBoot      = Kind{"VirtualMediaBootError", http.StatusInternalServerError, "Configuring agent from virtual media failed"}
	ContainerNotPermitted = Kind{"ContainerNotPermittedError", http.StatusInternalServerError, "Container is not permitted"}
	UnknownNode           = Kind{"UnknownNodeError", http.StatusInternalServerError, "Error getting configuration from Ironic"}
	LookupNode            = Kind{"LookupNodeError", http.StatusInternalServerError, "Error getting configuration from Ironic"}
	LookupAgentIP         = Kind{"LookupAgentIPError", http.StatusInternalServerError, "Error finding IP for Ironic Agent"}
)
