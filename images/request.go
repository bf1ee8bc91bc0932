package images

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"ferric/api/ipa"
	"ferric/images/configdrive"
)

// NewRequest makes a Request of what a conductor sent (agent contract, section
// "prepare_image"): authorization, proxies and digest are taken from info.
// client may be nil. AllowMD5, Permitted, Retry and MaxDuration are
// configuration of the agent: set them on the result.
func NewRequest(info ipa.ImageInfo, client *http.Client) (Request, error) {
	req := Request{
		URLs:       info.URLs,
		Header:     http.Header{},
		Client:     client,
		direct:     client,
		DiskFormat: info.DiskFormat,
		Digest:     Digest{Checksum: info.Checksum, Algorithm: info.OSHashAlgo, Value: info.OSHashValue},
	}
	switch {
	case info.ImageRequestAuthorization != "":
		header, err := base64.StdEncoding.DecodeString(info.ImageRequestAuthorization)
		if err != nil {
			return Request{}, fmt.Errorf("%w: image_request_authorization is not base64", ErrRequest)
		}
		req.Header.Set("Authorization", strings.TrimSpace(string(header)))
	case info.ImageServerAuthStrategy == "http_basic":
		if info.ImageServerUser == "" || info.ImageServerPassword == "" {
			return Request{}, fmt.Errorf("%w: http_basic needs image_server_user and image_server_password", ErrDownload)
		}
		userinfo := info.ImageServerUser + ":" + info.ImageServerPassword
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(userinfo)))
	}
	if len(info.Proxies) > 0 {
		req.Client = throughProxies(client, info.Proxies, info.NoProxy)
	}
	return req, nil
}

// driveOptions are for the config drive, which is fetched without the proxies
// for the image (agent contract, section "Config drive").
func (r Request) driveOptions() configdrive.Options {
	o := configdrive.Options{Client: r.direct, Retry: r.Retry, Rebuild: r.RebuildConfigDrive}
	if o.Client == nil {
		o.Client = r.Client
	}
	return o
}

// throughProxies is client with proxies of its own, for one image.
func throughProxies(client *http.Client, proxies map[string]string, noProxy string) *http.Client {
	if client == nil {
		client = http.DefaultClient
	}
	base, ok := client.Transport.(*http.Transport)
	if !ok {
		base, _ = http.DefaultTransport.(*http.Transport)
	}
	transport := base.Clone()
	choose := (&httpproxy.Config{HTTPProxy: proxies["http"], HTTPSProxy: proxies["https"], NoProxy: noProxy}).ProxyFunc()
	transport.Proxy = func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
	proxied := *client
	proxied.Transport = transport
	return &proxied
}
