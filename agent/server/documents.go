package server

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// link is an entry of "links" in the documents at / and /v1/.
type link struct {
	Href string `json:"href"`
	Rel  string `json:"rel"`
	Type string `json:"type,omitempty"`
}

// version describes the one version of the agent's API.
type version struct {
	ID         string      `json:"id"`
	Links      []link      `json:"links"`
	Commands   []link      `json:"commands,omitempty"`
	Status     []link      `json:"status,omitempty"`
	MediaTypes []mediaType `json:"media_types,omitempty"`
}

type mediaType struct {
	Base string `json:"base"`
	Type string `json:"type"`
}

func versionDocument(base string) version {
	return version{ID: "v1", Links: []link{
		{Href: base + "/v1", Rel: "self"},
		{Href: "https://docs.openstack.org/ironic-python-agent/", Rel: "describedby", Type: "text/html"},
	}}
}

func baseURL(c echo.Context) string {
	scheme := "http"
	if c.Request().TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.Request().Host
}

func (s *Server) root(c echo.Context) error {
	v := versionDocument(baseURL(c))
	return c.JSON(http.StatusOK, struct {
		Name        string    `json:"name"`
		Description string    `json:"description"`
		Versions    []version `json:"versions"`
		Default     version   `json:"default_version"`
	}{
		Name:        "OpenStack Ironic Python Agent API",
		Description: "ferric-agent: provisions the machine that it runs on over the ironic-python-agent protocol.",
		Versions:    []version{v},
		Default:     v,
	})
}

func (s *Server) v1(c echo.Context) error {
	base := baseURL(c)
	v := versionDocument(base)
	resource := func(name string) []link {
		return []link{{Href: base + "/v1/" + name, Rel: "self"}, {Href: base + "/" + name, Rel: "bookmark"}}
	}
	v.Commands, v.Status = resource("commands"), resource("status")
	v.MediaTypes = []mediaType{{Base: "application/json", Type: "application/vnd.openstack.ironic-python-agent.v1+json"}}
	return c.JSON(http.StatusOK, v)
}
