package generic

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"ferric/hwmanager"
	"ferric/images/source"
)

// maxInjected bounds the content behind a URL, in bytes: a file, not an image.
const maxInjected = 1 << 30

// contentURL fills in the placeholders of a URL: "{node[uuid]}",
// "{ports[0][address]}"; "{{" and "}}" are braces.
func contentURL(text string, node hwmanager.Node, ports []map[string]any) (string, error) {
	var filled strings.Builder
	for rest := text; rest != ""; {
		at := strings.IndexAny(rest, "{}")
		if at < 0 {
			filled.WriteString(rest)
			break
		}
		filled.WriteString(rest[:at])
		brace := rest[at : at+1]
		rest = rest[at+1:]
		if strings.HasPrefix(rest, brace) {
			filled.WriteString(brace)
			rest = rest[1:]
			continue
		}
		end := strings.IndexByte(rest, '}')
		if brace == "}" || end < 0 {
			return "", errors.New("a brace stands alone (one that is meant is doubled)")
		}
		value, err := placeholder(rest[:end], node, ports)
		if err != nil {
			return "", fmt.Errorf("placeholder {%.64s}: %w", rest[:end], err)
		}
		filled.WriteString(value)
		rest = rest[end+1:]
	}
	parsed, err := url.Parse(filled.String())
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return "", fmt.Errorf("%.256s is not an http or https URL", source.Redact(filled.String()))
	}
	return filled.String(), nil
}

// placeholder is the value of node[key]… or ports[index][key]….
func placeholder(name string, node hwmanager.Node, ports []map[string]any) (string, error) {
	root, rest, _ := strings.Cut(name, "[")
	var value any
	switch root {
	case "node":
		value = map[string]any(node)
	case "ports":
		list := make([]any, len(ports))
		for i, port := range ports {
			list[i] = port
		}
		value = list
	default:
		return "", errors.New("only node and ports can be named")
	}
	if rest != "" {
		keys, ok := strings.CutSuffix(rest, "]")
		if !ok {
			return "", errors.New("it must end in ]")
		}
		for key := range strings.SplitSeq(keys, "][") {
			var err error
			if value, err = element(value, key); err != nil {
				return "", err
			}
		}
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case json.Number:
		return value.String(), nil
	case float64, int:
		return fmt.Sprint(value), nil
	case bool: // as the reference writes it
		if value {
			return "True", nil
		}
		return "False", nil
	}
	return "", errors.New("it is neither text nor a number nor a boolean")
}

func element(of any, key string) (any, error) {
	switch of := of.(type) {
	case map[string]any:
		if value, ok := of[key]; ok {
			return value, nil
		}
	case []any:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(of) {
			return of[i], nil
		}
	}
	return nil, fmt.Errorf("there is no %.64q", key)
}

// open starts to read the content of a file. The credentials of image servers
// are not for these URLs, which may name any server.
func (in *injector) open(ctx context.Context, f injection) (io.ReadCloser, error) {
	if f.url == "" {
		return io.NopCloser(base64.NewDecoder(base64.StdEncoding, strings.NewReader(f.content))), nil
	}
	content, err := source.Open(ctx, source.Config{URLs: []string{f.url}, Client: in.client, Retry: in.retry})
	if err != nil {
		return nil, err
	}
	if content.Size() > in.most {
		content.Close()
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that a file may have", content.URL(), content.Size(), in.most)
	}
	return &boundedContent{content, in.most}, nil
}

// boundedContent fails where it has more than room bytes.
type boundedContent struct {
	*source.File
	room int64
}

func (b *boundedContent) Read(p []byte) (int, error) {
	n, err := b.File.Read(p)
	if b.room -= int64(n); b.room < 0 {
		return 0, fmt.Errorf("%s has more bytes than a file may have", b.File.URL())
	}
	return n, err
}
