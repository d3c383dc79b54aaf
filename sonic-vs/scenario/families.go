package scenario

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sonic-netservices/netmap"
	"sonic-netservices/sonic-vs/images"
)

// The service has addresses of both families, which move together, and publishes TCP and UDP on the node that serves.
const (
	family        = "memcached"
	familyAddress = "10.20.0.22:11211"
	familySecond  = "10.20.0.32:11211"
	family6       = "[fd20::22]:11211"
	familyPort    = 11311
	familyExtras  = `
command: ["-U", "11211"]
addresses: [fd20::22/64, 10.20.0.32/24]
ports:
- {node: 11311, container: 11211}
- {node: 11311, container: 11211, protocol: udp}
`
)

// families moves Debian's memcached live under clients of IPv4 and IPv6, TCP and UDP: each asks a counter of its own,
// and every number comes once.
func families(ctx context.Context, s *stage) error {
	if err := s.deployFamily(ctx); err != nil {
		return err
	}
	defer s.suite.Nsctl(context.WithoutCancel(ctx), "remove", family)
	talks := map[string]*talk{}
	for name, address := range map[string]string{"tcp4": familyAddress, "tcp6": family6, "second": familySecond} {
		t, err := s.talk(ctx, counter(name, address))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer t.end()
		talks[name] = t
	}
	streams := map[string]*datagrams{}
	for name, address := range map[string]string{"udp4": familyAddress, "udp6": family6} {
		d, err := s.datagrams(ctx, name, address)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer d.end()
		streams[name] = d
	}
	home, moves := homes[0], serverMoves
	if s.Quick {
		moves = 1
	}
	s.published(ctx, home)
	for n := range moves {
		if err := talks["tcp4"].pause(ctx, time.Second); err != nil {
			return err
		}
		home = other(home)
		if _, err := s.suite.Migrate(ctx, family+"-0", home, string(netmap.Live)); err != nil {
			s.fault("move %d to %s: %v", n+1, home, err)
			break
		}
		s.published(ctx, home)
	}
	if err := talks["tcp4"].pause(ctx, time.Second); err != nil {
		return err
	}
	told := map[string][]exchange{}
	for name, t := range talks {
		told[name] = t.end()
	}
	for name, d := range streams {
		told[name] = d.end()
	}
	for _, name := range []string{"tcp4", "tcp6", "second", "udp4", "udp6"} {
		all := told[name]
		failed, broken, gap := summary(all)
		err := errors.Join(writeTalk(filepath.Join(s.dir, name+".jsonl"), all), contiguous(all))
		if err != nil || failed > 0 || broken > 0 {
			s.fault("%s: %d failed requests, %d broken connections, %v", name, failed, broken, err)
		}
		s.say("%-6s %d moves: %d of %d requests failed, %d broken connections, longest gap %v", name, moves, failed, len(all), broken,
			gap.Round(time.Millisecond))
	}
	_, err := s.suite.Nsctl(ctx, "remove", family)
	return err
}

func (s *stage) deployFamily(ctx context.Context) error {
	tarball, err := images.Build(ctx, s.leader().docker, s.Repo, family)
	if err != nil {
		return err
	}
	if _, err := s.suite.Nsctl(ctx, "image", "load", tarball); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(s.Repo, "examples", family, family+".yaml"))
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, family+".yaml")
	if err := os.WriteFile(path, append(text, familyExtras...), 0o644); err != nil {
		return err
	}
	_, err = s.suite.Deploy(ctx, path, homes[0])
	return err
}

// counter is a number in the service that only one client asks.
func counter(name, address string) server {
	return server{
		name: name, address: address,
		first:  fmt.Sprintf("set %s 0 0 1\r\n0\r\n", name),
		ask:    func(int) string { return "incr " + name + " 1\r\n" },
		answer: func(in *bufio.Reader, _ int) (string, error) { return numberLine(in, "") },
	}
}

// published looks at the ports of the nodes: the one that serves answers, the other refuses.
func (s *stage) published(ctx context.Context, home string) {
	limit, cancel := context.WithTimeout(ctx, talkPatience)
	defer cancel()
	for _, name := range homes {
		at := fmt.Sprintf("%s:%d", s.node(name).Loopback, familyPort)
		for _, network := range []string{"tcp", "udp"} {
			err := s.version(limit, network, at)
			switch {
			case name == home && err != nil:
				s.fault("%s serves, and %s %s says: %v", home, network, at, err)
			case name != home && !errors.Is(err, syscall.ECONNREFUSED):
				s.fault("%s serves, and %s %s of %s is not refused: %v", home, network, at, name, err)
			}
		}
	}
}

// version asks memcached for its version.
func (s *stage) version(ctx context.Context, network, at string) error {
	conn, err := s.dial(ctx, network, at)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	ask, head := "version\r\n", 0
	if network == "udp" {
		ask, head = frame(0, ask), frameHead
	}
	if _, err := conn.Write([]byte(ask)); err != nil {
		return err
	}
	b := make([]byte, 1500)
	n, err := conn.Read(b)
	if err != nil {
		return err
	}
	if n < head || !strings.HasPrefix(string(b[head:n]), "VERSION ") {
		return fmt.Errorf("answered %q", b[:n])
	}
	return nil
}

// frameHead is in front of each datagram of memcached: number of the request, of the datagram, how many there are, 0.
const frameHead = 8

func frame(n int, text string) string {
	head := binary.BigEndian.AppendUint16(nil, uint16(n))
	return string(append(head, 0, 0, 0, 1, 0, 0)) + text
}

// datagrams is a client of a counter by UDP: open loop by schedule, never sent again.
type datagrams struct {
	conn  net.Conn
	begun time.Time
	stop  chan struct{}
	ended sync.WaitGroup
	once  sync.Once

	mu  sync.Mutex
	all []exchange // by number
}

// datagrams begins when the counter is there.
func (s *stage) datagrams(ctx context.Context, name, address string) (*datagrams, error) {
	v := counter(name, address)
	tcp, err := s.dialTCP(ctx, address)
	if err != nil {
		return nil, err
	}
	defer tcp.Close()
	tcp.SetDeadline(time.Now().Add(talkPatience))
	if _, err := tcp.Write([]byte(v.first)); err != nil {
		return nil, err
	}
	if _, err := readLine(tcp); err != nil {
		return nil, err
	}
	conn, err := s.dial(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	d := &datagrams{conn: conn, begun: time.Now(), stop: make(chan struct{})}
	go d.hear()
	d.ended.Go(func() { d.send(v) })
	return d, nil
}

func (d *datagrams) send(v server) {
	for n := 0; ; n++ {
		due := time.Duration(n) * time.Second / talkRate
		select {
		case <-d.stop:
			return
		case <-time.After(time.Until(d.begun.Add(due))):
		}
		d.mu.Lock()
		d.all = append(d.all, exchange{N: n, Conn: 1, Due: due, Error: "no answer"})
		d.mu.Unlock()
		if _, err := d.conn.Write([]byte(frame(n, v.ask(n)))); err != nil {
			d.mu.Lock()
			d.all[n].Error = err.Error()
			d.mu.Unlock()
		}
	}
}

// hear notes answers until the socket is closed. An answer says which request it is to.
func (d *datagrams) hear() {
	for b := make([]byte, 1500); ; {
		size, err := d.conn.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || size < frameHead {
			continue // an unreachable port is told here; the request stays without an answer
		}
		value := strings.TrimSpace(string(b[frameHead:size]))
		d.mu.Lock()
		if n := int(binary.BigEndian.Uint16(b)); n < len(d.all) {
			e := &d.all[n]
			if e.Error == "" {
				e.Error = "answered twice: " + e.Value + " and " + value
			} else {
				e.Value, e.Error, e.Answered = value, "", time.Since(d.begun)
			}
		}
		d.mu.Unlock()
	}
}

// end stops the client and waits for what is open.
func (d *datagrams) end() []exchange {
	d.once.Do(func() {
		close(d.stop)
		d.ended.Wait()
		for limit := time.Now().Add(talkPatience); time.Now().Before(limit) && d.open(); time.Sleep(10 * time.Millisecond) {
		}
		d.conn.Close()
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}

func (d *datagrams) open() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.all {
		if e.Error != "" {
			return true
		}
	}
	return false
}
