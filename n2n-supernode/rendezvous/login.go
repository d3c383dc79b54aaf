package rendezvous

import (
	"time"

	"sonic-netservices/internal/n2n"
)

// A community with users encrypts twice: registering with a key made of its name and a trailer that proves the password, all
// else with a dynamic key, which the ACK brings. The dynamic key is made of a second (the key time) that all supernodes of a
// federation have in common; the newest wins, and edges are told to register again.

// maxRegistration is the longest packet that may be a registration with a trailer: those of frames are not hashed for it.
const maxRegistration = 512

// login makes the secrets that are shared with the users.
func (c *community) login(m *Machine) {
	private := n2n.FederationKey(m.federal.name)
	c.secrets = map[n2n.PublicKey]*n2n.Secret{}
	for _, u := range c.entry.Users {
		// A key that shares no secret is no curve point: its user cannot log in.
		if secret, err := private.Share(u.Key); err == nil {
			c.secrets[u.Key] = secret
		}
	}
}

// dynamic is the key of the moment.
type dynamic struct {
	key    n2n.DynamicKey
	header *n2n.HeaderKey
}

func (c *community) rekey(m *Machine) {
	key := n2n.NewDynamicKey(c.name, m.federal.community, m.keyTime)
	c.dynamic.Store(&dynamic{key, n2n.NewDynamicHeaderKey(c.name, key)})
}

// openWith tries the keys of a community on the packet at hand.
func (w *Worker) openWith(c *community, why *Refusal) bool {
	if !c.holds(EncryptedHeader) {
		return false
	}
	key := c.static
	if d := c.dynamic.Load(); d != nil {
		key = d.header
	}
	stamp, _, err := key.Open(w.bytes)
	if err != nil && c.users {
		*why = worse(*why, err)
		stamp, err = w.openRegistration(c)
	}
	if err != nil {
		*why = worse(*why, err)
		return false
	}
	c.opened.Add(1)
	w.community, w.stamp = c, stamp
	return true
}

// openRegistration opens what comes with a trailer. Whether that is true is found when the user is known.
func (w *Worker) openRegistration(c *community) (n2n.Stamp, error) {
	if len(w.bytes) > maxRegistration {
		return 0, errNoRegistration
	}
	sealed, trailer, err := n2n.CutTrailer(w.bytes)
	if err != nil {
		return 0, err
	}
	stamp, _, err := c.static.Open(sealed)
	if err != nil {
		return 0, err
	}
	w.bytes, w.trailer, w.static = sealed, trailer, true
	return stamp, nil
}

var errNoRegistration error = &n2n.Error{Reason: n2n.ReasonKey, Field: n2n.FieldHeader}

// login finds out which user registers, and checks the password.
func (w *Worker) login() Refusal {
	if !w.community.users {
		return accepted
	}
	user, err := w.super.Auth.User()
	if err != nil {
		return refusalOf(err)
	}
	secret := w.community.secrets[user]
	if secret == nil || !w.static {
		return Refusal(n2n.ReasonLogin)
	}
	if err := secret.Verify(w.trailer); err != nil {
		return refusalOf(err)
	}
	w.secret = secret
	return accepted
}

// sameHolder says whether two tokens are of one edge. Of a user the name counts: the rest of the token is a new challenge
// each time.
func sameHolder(a, b *n2n.Auth) bool {
	if a.Scheme == n2n.AuthLogin && b.Scheme == n2n.AuthLogin {
		one, err := a.User()
		other, bad := b.User()
		return err == nil && bad == nil && one == other
	}
	return a.Equal(b)
}

// newKeyTime takes over a newer key time of another supernode: edges hear of it under the old key, and register again.
func (m *Machine) newKeyTime(w *Worker, at uint32, out *Out) {
	if at <= m.keyTime || int64(at) > w.now.Add(time.Minute).Unix() {
		return
	}
	m.keyTime = at
	m.version++
	had := w.arrival
	defer func() { w.arrival = had }()
	for _, c := range m.sorted() {
		if !c.users {
			continue
		}
		w.arrival = arrival{now: had.now, community: c, encrypted: true, header: n2n.Header{Community: c.name}}
		start := len(out.Bytes)
		out.Bytes = (&n2n.ReRegisterSuper{Header: w.ours()}).Append(out.Bytes)
		w.seal(out, start, n2n.HeaderLen, n2n.Ordered)
		for e := range c.edges.all {
			out.send(e.to(), start)
		}
		c.rekey(m)
	}
}
