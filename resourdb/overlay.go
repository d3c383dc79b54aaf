package resourdb

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Tables of the overlay.
const (
	EdgeTable   = "RESOUR_EDGE"   // |community/mac   n2n-supernode
	TunnelTable = "RESOUR_TUNNEL" // |a|b             n2n-supernode
)

// SupernodeField of a row of the overlay names the node whose supernode wrote it: keys do not say that, and an edge may go
// from one supernode to another.
const SupernodeField = "supernode"

// SinceField says since when it is so: of two rows with one key the newer one holds.
const SinceField = "since"

// Edge is one edge, as it registered. When it was last heard is not in here: that changes all the time.
type Edge struct {
	Community string
	MAC       string         // virtual
	Supernode string         // node it is registered at
	Name      string         // what it calls itself
	Address   netip.Prefix   // virtual; invalid: it has none, and no field
	Public    netip.AddrPort // where it sends from
	Local     netip.AddrPort // in its own network; invalid: it did not say, and no field
	NAT       string         // unknown, none, full cone, restricted cone, symmetric
	Since     time.Time      // it is registered
}

func (Edge) Table() string     { return EdgeTable }
func (e Edge) Parts() []string { return []string{e.Community + "/" + e.MAC} }

func (e Edge) Row() map[string]string {
	row := map[string]string{SupernodeField: e.Supernode, "name": e.Name, "public": e.Public.String(), "nat": e.NAT, SinceField: stamp(e.Since)}
	if e.Address.IsValid() {
		row["address"] = e.Address.String()
	}
	if e.Local.IsValid() {
		row["local"] = e.Local.String()
	}
	return row
}

// ParseEdge reads what Row wrote.
func ParseEdge(key string, row map[string]string) (Edge, error) {
	p := parse(EdgeTable, key, 1, row)
	e := Edge{Supernode: p.text(SupernodeField), Name: p.text("name"), NAT: p.text("nat"), Since: p.time(SinceField)}
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
