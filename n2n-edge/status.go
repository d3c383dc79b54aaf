package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"text/tabwriter"
	"time"

	"sonic-netservices/n2n-edge/edge"
)

// status shows what a running edge says of itself.
func status(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("n2n-edge status", flag.ContinueOnError)
	device := flags.String("device", "n2n0", "`name` of the edge's TAP device")
	socket := flags.String("status", "", "`socket` of the edge (default: /run/n2n-edge-DEVICE.sock)")
	raw := flags.Bool("json", false, "as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *socket == "" {
		*socket = "/run/n2n-edge-" + *device + ".sock"
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", *socket)
		}}}
	answer, err := client.Get("http://edge/status")
	if err != nil {
		return fmt.Errorf("no edge answers at %s: %w", *socket, err)
	}
	defer answer.Body.Close()
	if *raw {
		_, err = io.Copy(out, answer.Body)
		return err
	}
	var s edge.Status
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		return fmt.Errorf("read what the edge says: %w", err)
	}
	return show(out, &s)
}

func show(out io.Writer, s *edge.Status) error {
	p := &s.Peering
	state := "not registered"
	switch {
	case p.Registered:
		state = "registered at " + p.Supernode.String()
	case p.Refused != "":
		state = "refused: " + p.Refused
	}
	fmt.Fprintf(out, "%s  %s  %s  community %s, %s\n", s.Device, dash(p.Address.IsValid(), p.Address), s.MAC, s.Community, s.Transform)
	fmt.Fprintf(out, "%s; from %s, seen as %s; NAT: %s\n\n", state, addr(p.Local), addr(p.Public), p.NAT)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SUPERNODE\tRTT\tSEEN AS\tVERSION")
	for _, n := range p.Supernodes {
		mark := ""
		if n.Current {
			mark = " *"
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\n", n.Addr, mark, rtt(n.RTT), addr(n.Public), dash(n.Version != "", n.Version))
	}
	fmt.Fprintln(w, "\nPEER\tADDRESS\tNAME\tPATH\tAT\tRTT\tNAT\tWHY NOT DIRECT")
	for _, peer := range p.Peers {
		nat := "?"
		if peer.Ours {
			nat = peer.NAT
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", peer.MAC, dash(peer.Address.IsValid(), peer.Address), dash(peer.Desc != "", peer.Desc),
			peer.Path, addr(peer.Addr), rtt(peer.RTT), nat, peer.Why)
	}
	return w.Flush()
}

func addr(a netip.AddrPort) string { return dash(a.IsValid(), a) }

func rtt(d time.Duration) string { return dash(d > 0, d.Round(10*time.Microsecond)) }

// dash is the value, if there is one.
func dash(ok bool, v any) string {
	if !ok {
		return "-"
	}
	return fmt.Sprint(v)
}
