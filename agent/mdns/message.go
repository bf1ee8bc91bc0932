package mdns

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds on what is kept of answers, whoever sends them.
const (
	maxRecords   = 64 // looked at in one message
	maxHosts     = 16
	maxAddresses = 16 // of a host
	maxKeys      = 64
)

// answers gather what the messages say of one instance of a service.
type answers struct {
	instance  string // lower case, absolute
	host      string // of the SRV record, lower case, absolute
	port      uint16
	priority  uint16
	hasText   bool
	text      map[string]string
	addresses map[string][]netip.Addr // by host
}

func newAnswers(service string) *answers {
	return &answers{
		instance: strings.ToLower(service) + "." + domain,
		text:     map[string]string{}, addresses: map[string][]netip.Addr{},
	}
}

// unicastWanted is the bit of the class that asks for an answer to the asker
// only (RFC 6762, 5.4); in answers it means that the record is the only one.
const unicastWanted = 1 << 15

// question asks for what is still missing.
func (a *answers) question() ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	ask := func(name string, types ...dnsmessage.Type) error {
		n, err := dnsmessage.NewName(name)
		if err != nil {
			return fmt.Errorf("name %q: %w", name, err)
		}
		for _, t := range types {
			if err := b.Question(dnsmessage.Question{Name: n, Type: t, Class: dnsmessage.ClassINET | unicastWanted}); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if a.host == "" || !a.hasText {
		err = ask(a.instance, dnsmessage.TypeSRV, dnsmessage.TypeTXT)
	}
	if err == nil && a.host != "" && len(a.addresses[a.host]) == 0 {
		err = ask(a.host, dnsmessage.TypeA, dnsmessage.TypeAAAA)
	}
	if err != nil {
		return nil, err
	}
	return b.Finish()
}

// add takes over the records of a message that matter. Messages that cannot be
// read are ignored up to where that is so.
func (a *answers) add(message []byte) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil || !header.Response || p.SkipAllQuestions() != nil {
		return
	}
	left := maxRecords
	sections := []struct {
		next func() (dnsmessage.ResourceHeader, error)
		skip func() error
	}{
		{p.AnswerHeader, p.SkipAnswer}, {p.AuthorityHeader, p.SkipAuthority}, {p.AdditionalHeader, p.SkipAdditional},
	}
	for _, section := range sections {
		for ; left > 0; left-- {
			h, err := section.next()
			if err == dnsmessage.ErrSectionDone {
				break
			}
			if err != nil || h.Class&^unicastWanted != dnsmessage.ClassINET {
				if err != nil || section.skip() != nil {
					return
				}
				continue
			}
			if !a.addRecord(&p, h, section.skip) {
				return
			}
		}
	}
}

// addRecord takes over one record; false if the message cannot be read.
func (a *answers) addRecord(p *dnsmessage.Parser, h dnsmessage.ResourceHeader, skip func() error) bool {
	name := strings.ToLower(h.Name.String())
	switch {
	case h.Type == dnsmessage.TypeSRV && name == a.instance:
		r, err := p.SRVResource()
		if err != nil {
			return false
		}
		host := strings.ToLower(r.Target.String())
		if (a.host == "" || r.Priority < a.priority) && isHostName(host) && r.Port != 0 {
			a.host, a.port, a.priority = host, r.Port, r.Priority
		}
	case h.Type == dnsmessage.TypeTXT && name == a.instance:
		r, err := p.TXTResource()
		if err != nil {
			return false
		}
		a.addText(r.TXT)
	case h.Type == dnsmessage.TypeA:
		r, err := p.AResource()
		if err != nil {
			return false
		}
		a.addAddress(name, netip.AddrFrom4(r.A))
	case h.Type == dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		if err != nil {
			return false
		}
		a.addAddress(name, netip.AddrFrom16(r.AAAA).Unmap())
	default:
		return skip() == nil
	}
	return true
}

// addText takes over the keys of a TXT record (RFC 6763, 6.4): the first of
// several with one name counts.
func (a *answers) addText(items []string) {
	a.hasText = true
	for _, item := range items {
		key, value, ok := strings.Cut(item, "=")
		key = strings.ToLower(key)
		if _, known := a.text[key]; ok && key != "" && !known && len(a.text) < maxKeys {
			a.text[key] = value
		}
	}
}

func (a *answers) addAddress(host string, addr netip.Addr) {
	known := a.addresses[host]
	if len(known) == maxAddresses || known == nil && len(a.addresses) == maxHosts && host != a.host {
		return
	}
	for _, k := range known {
		if k == addr {
			return
		}
	}
	a.addresses[host] = append(known, addr)
}

// isHostName: letters, digits, hyphens and dots, as names of hosts have them.
func isHostName(name string) bool {
	if len(name) < 2 || len(name) > 254 || name[0] == '.' || name[0] == '-' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}
