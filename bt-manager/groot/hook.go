package groot

import (
	"errors"
	"time"

	"sonic-netservices/bt-manager/bt"
)

var errNoNode = errors.New("Node ID not found") // in the words of BehaviorTree.CPP

// insert puts hooks to nodes; all of them or, when one is wrong, none.
func (m *Monitor) insert(body []byte) error {
	list, err := parseHooks(body)
	if err != nil {
		return err
	}
	for _, h := range list {
		if h.UID == 0 || int(h.UID) > len(m.order) {
			return errNoNode
		}
	}
	for _, one := range list {
		p := place{one.UID, bt.Place(one.Position)}
		h := m.hooks[p]
		if h == nil || h.gone {
			h = &hook{}
			m.hooks[p] = h
			if err := m.run.SetHook(int(p.uid), p.where, func(bt.Status) bt.Status { return m.ask(h) }); err != nil {
				return err
			}
		}
		h.Hook = one
	}
	return nil
}

func (m *Monitor) remove(p place) error {
	if m.hooks[p] == nil {
		return errNoNode
	}
	m.drop(p)
	return nil
}

// drop takes a hook away; the node goes on at the next tick.
func (m *Monitor) drop(p place) {
	delete(m.hooks, p)
	_ = m.run.SetHook(int(p.uid), p.where, nil) // the node is there: it has the hook
}

func (m *Monitor) unlock(u Unlock) error {
	h := m.hooks[place{u.UID, bt.Place(u.Position)}]
	if h == nil {
		return errNoNode
	}
	h.Desired = desired(u.Desired).String()
	h.Once = h.Once || u.Remove
	h.ready = h.Mode == Break
	return nil
}

// desired reads the answer of an unlock: what does not end a node lets it answer itself.
func desired(s string) bt.Status {
	if st, err := bt.ParseStatus(s); err == nil && st.Done() {
		return st
	}
	return bt.Skipped
}

// ask is what the engine asks in a tick. As with BehaviorTree.CPP a hook that stays breaks at every tick of its node.
func (m *Monitor) ask(h *hook) bt.Status {
	if h.gone || !h.Enabled || time.Since(m.heard) > heartbeat {
		h.told, h.ready = false, false
		return bt.Skipped
	}
	if !h.told {
		h.told = true
		m.reached = append(m.reached, h.UID)
	}
	if h.Mode == Break && !h.ready {
		return bt.Running
	}
	h.ready, h.told, h.gone = false, false, h.Once
	return desired(h.Desired)
}
