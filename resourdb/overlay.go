package resourdb

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// EdgeTable has the edges of the overlay that are registered at this node's supernode: |community/mac  n2n-supernode
const EdgeTable = "RESOUR_EDGE"

// Edge is one edge, as it registered. When it was last heard is not in here: that changes all the time.
type Edge struct {
	Community string
	MAC       string         // virtual
	Name      string         // what it calls itself
	Address   netip.Prefix   // virtual; invalid: it has none, and no field
	Public    netip.AddrPort // where it sends from
	Local     netip.AddrPort // in its own network; invalid: it did not say, and no field
	NAT       string         // unknown, none, full cone, restricted cone, symmetric
	P1, P2    uint16         // ports that quality is measured on; 0: it has told none, and no field
	Since     time.Time      // it is registered
}

func (Edge) Table() string     { return EdgeTable }
func (e Edge) Parts() []string { return []string{e.Community + "/" + e.MAC} }

func (e Edge) Row() map[string]string {
	row := map[string]string{"name": e.Name, "public": e.Public.String(), "nat": e.NAT, "since": stamp(e.Since)}
	if e.Address.IsValid() {
		row["address"] = e.Address.String()
	}
	if e.Local.IsValid() {
		row["local"] = e.Local.String()
	}
	for field, port := range map[string]uint16{"p1": e.P1, "p2": e.P2} {
		if port != 0 {
			row[field] = strconv.Itoa(int(port))
		}
	}
	return row
}

// ParseEdge reads what Row wrote.
func ParseEdge(key string, row map[string]string) (Edge, error) {
	p := parse(EdgeTable, key, 1, row)
	e := Edge{Name: p.text("name"), NAT: p.text("nat"), Since: p.time("since"), P1: p.port("p1"), P2: p.port("p2")}
	i := strings.LastIndexByte(p.part(0), '/')
	if i < 0 && p.err == nil {
		p.err = fmt.Errorf("key %s: want COMMUNITY/MAC", key)
	}
	if i >= 0 {
		e.Community, e.MAC = p.part(0)[:i], p.part(0)[i+1:]
	}
	p.need("public")
	e.Public = into(p, "public", p.text("public"), netip.ParseAddrPort)
	if s := p.text("address"); s != "" {
		e.Address = into(p, "address", s, netip.ParsePrefix)
	}
	if s := p.text("local"); s != "" {
		e.Local = into(p, "local", s, netip.ParseAddrPort)
	}
	return e, p.err
}

func (p *parser) port(field string) uint16 {
	s := p.row[field]
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		p.fail(field, err)
	}
	return uint16(n)
}
