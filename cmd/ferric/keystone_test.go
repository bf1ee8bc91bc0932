package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
)

func TestFromEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		want gophercloud.AuthOptions
	}{
		"a project, with two domains": {
			map[string]string{"OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_USER_DOMAIN_NAME": "D", "OS_PROJECT_NAME": "x", "OS_PROJECT_DOMAIN_ID": "e"},
			gophercloud.AuthOptions{Username: "u", Password: "p", DomainName: "D", Scope: &gophercloud.AuthScope{ProjectName: "x", DomainID: "e"}},
		},
		"the system, without a domain": {
			map[string]string{"OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_SYSTEM_SCOPE": "all", "OS_PROJECT_NAME": "x"},
			gophercloud.AuthOptions{Username: "u", Password: "p", DomainID: "default", Scope: &gophercloud.AuthScope{System: true}},
		},
		"a token": {
			map[string]string{"OS_TOKEN": "t", "OS_USERNAME": "u", "OS_PROJECT_ID": "x"},
			gophercloud.AuthOptions{TokenID: "t", Scope: &gophercloud.AuthScope{ProjectID: "x"}},
		},
		"an application": {
			map[string]string{"OS_APPLICATION_CREDENTIAL_ID": "a", "OS_APPLICATION_CREDENTIAL_SECRET": "s", "OS_PROJECT_ID": "x"},
			gophercloud.AuthOptions{ApplicationCredentialID: "a", ApplicationCredentialSecret: "s"},
		},
	} {
		if diff := cmp.Diff(tt.want, fromEnvironment(func(name string) string { return tt.env[name] })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
