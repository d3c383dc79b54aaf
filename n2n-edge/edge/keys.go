package edge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sonic-netservices/internal/n2n"
)

// keys encrypt headers.
type keys struct {
	static  *n2n.HeaderKey
	user    n2n.PublicKey
	secret  *n2n.Secret                   // nil: no users
	dynamic atomic.Pointer[n2n.HeaderKey] // nil: not logged in yet

	// A control message is stamped and sent under mu, a PACKET is only stamped under it: so no message that has to come in
	// order is overtaken by one with a later stamp.
	mu      sync.Mutex
	stamper n2n.Stamper
}

func newKeys(cfg *Config) (*keys, error) {
	if !cfg.HeaderEncryption {
		return nil, nil
	}
	k := &keys{static: n2n.NewHeaderKey(cfg.community)}
	if cfg.Password == "" {
		return k, nil
	}
	federation, err := n2n.FederationKey(defaultFederation).Public()
	if cfg.SupernodeKey != "" {
		federation, err = n2n.ParsePublicKey(cfg.SupernodeKey)
	}
	if err != nil {
		return nil, fmt.Errorf("supernode-key: %w", err)
	}
	private := n2n.UserKey(cfg.User, cfg.Password)
	if k.user, err = private.Public(); err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	if k.secret, err = private.Share(federation); err != nil {
		return nil, fmt.Errorf("supernode-key: %w", err)
	}
	return k, nil
}

// packetKey gives the key of PACKETs, and how much of the payload it covers.
func (e *Edge) packetKey() (*n2n.HeaderKey, int) {
	switch {
	case e.keys == nil:
		return nil, 0
	case e.keys.secret == nil:
		return e.keys.static, 0
	}
	return e.keys.dynamic.Load(), 16
}

// stamp of a PACKET that leaves now.
func (e *Edge) stamp(now time.Time) n2n.Stamp {
	e.keys.mu.Lock()
	defer e.keys.mu.Unlock()
	return e.keys.stamper.Next(now)
}

// ready says whether packets may be sent: in a community with users that is after the login.
func (e *Edge) ready() bool {
	return e.keys == nil || e.keys.secret == nil || e.keys.dynamic.Load() != nil
}
