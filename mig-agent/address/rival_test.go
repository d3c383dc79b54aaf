package address

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// watch collects the rivals of a holder.
func (f fabric) watch(holder string) <-chan Rival {
	found := make(chan Rival, 100)
	ended := make(chan error, 1)
	ctx := f.t.Context()
	go func() { ended <- WatchRivals(ctx, f.ns(holder), serviceAddrs, func(r Rival) { found <- r }) }()
	f.t.Cleanup(func() {
		if err := <-ended; err != nil {
			f.t.Error(err)
		}
	})
	return found
}

// TestRivals: two holders that both own their addresses find each other, whoever was first and without an announcement;
// one that yields is none any more.
func TestRivals(t *testing.T) {
	f := upBoth(t)
	at1 := f.watch("h1")
	select {
	case r := <-at1:
		t.Fatalf("a yielded holder counts as a rival: %v", r)
	case <-time.After(askRivals + time.Second):
	}
	must(t, change("own in silence", f.ns("h2"), func(g gate) { fill(g.conn, g.arp); fill(g.conn, g.nd) }))
	at2 := f.watch("h2")
	for name, found := range map[string]<-chan Rival{"leaf2": at1, "leaf1": at2} {
		missing := map[netip.Addr]bool{}
		for _, a := range serviceAddrs {
			missing[a] = true
		}
		for end := time.After(2*askRivals + 3*time.Second); len(missing) > 0; {
			select {
			case r := <-found:
				if want := MAC(name, "kms-0").String(); r.MAC != want {
					t.Errorf("rival %v, want %s of %s", r, want, name)
				}
				delete(missing, r.Address)
			case <-end:
				t.Fatalf("%s was not seen at %v", name, missing)
			}
		}
	}
	must(t, Yield(f.ns("h2")))
	time.Sleep(100 * time.Millisecond)
	for len(at1) > 0 {
		<-at1
	}
	select {
	case r := <-at1:
		t.Errorf("a yielded holder goes on as a rival: %v", r)
	case <-time.After(askRivals + time.Second):
	}
}

// TestMoveMakesNoRival: a legal move, and one that is taken back, raise nothing at the holder that serves.
func TestMoveMakesNoRival(t *testing.T) {
	f := upBoth(t)
	at1 := f.watch("h1")
	must(t, Yield(f.ns("h1")))
	must(t, Own(f.ns("h2"), serviceAddrs...))
	must(t, Yield(f.ns("h2")))
	must(t, Own(f.ns("h1"), serviceAddrs...))
	must(t, Announce(f.ns("h2"), serviceAddrs...)) // a late frame
	time.Sleep(askRivals + time.Second)
	for len(at1) > 0 {
		t.Errorf("raised: %v", <-at1)
	}
}

func TestSightings(t *testing.T) {
	r := Rival{netip.MustParseAddr(service), "02:00:00:00:00:01"}
	s, start := sightings{}, time.Now()
	for _, step := range []struct {
		at               time.Duration
		first, confirmed bool
	}{
		{0, true, false}, {60 * time.Millisecond, false, false}, {confirmRivals, false, true}, {2 * time.Second, false, true},
		{time.Minute, true, false}, {time.Minute + time.Second, false, true},
	} {
		if first, confirmed := s.add(r, start.Add(step.at)); first != step.first || confirmed != step.confirmed {
			t.Errorf("after %v: first %t, confirmed %t", step.at, first, confirmed)
		}
	}
}

func FuzzClaim(f *testing.F) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	announce := frame(mac, mac, 0x0806, gratuitousARP(2, mac, netip.MustParseAddr(service)))
	for _, c := range []struct {
		frame []byte
		want  string
	}{
		{announce, service},
		{frame(mac, mac, 0x86dd, advertisement(mac, netip.MustParseAddr(service6))), service6},
		{probe4(mac, netip.MustParseAddr(service)), ""},
		{probe6(mac, netip.MustParseAddr(service6)), ""},
	} {
		r, ok := claim(c.frame)
		if ok != (c.want != "") || ok && (r.Address.String() != c.want || r.MAC != mac.String()) {
			f.Fatalf("claim of % x: %v, %t; want %s", c.frame, r, ok, c.want)
		}
		f.Add(c.frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) { claim(b) })
}
