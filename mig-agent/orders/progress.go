package orders

import (
	"io"
	"maps"
	"strings"
	"time"

	"sonic-netservices/api"
	"sonic-netservices/mig-agent/engine"
)

// tellEvery is how often a phase of bulk data tells how far it is: often enough for an eye.
const tellEvery = 250 * time.Millisecond

// progress tells how much of a section is read while it is sent.
func (m *sourceMove) progress(section string, r io.Reader) io.Reader {
	phase, name, _ := strings.Cut(section, "/")
	p := &progressReader{r: r, every: tellEvery, told: time.Now()}
	var before, total int64
	if phase == "volume" {
		phase, before, total = "volumes", m.trace.VolumeBytes, m.volumes
	}
	p.tell = func(n int64, done bool) {
		if done { // what was measured on the disk is not quite what is sent
			total = 0
		}
		m.out.emit(&api.Event{Phase: phase, Detail: strings.TrimSpace(name + " to " + m.order.To), Bytes: before + n, TotalBytes: total})
	}
	return p
}

type progressReader struct {
	r     io.Reader
	n     int64
	told  time.Time
	every time.Duration
	tell  func(n int64, done bool)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	if time.Since(p.told) >= p.every || err == io.EOF && p.n > 0 {
		p.told = time.Now()
		p.tell(p.n, err == io.EOF)
	}
	return n, err
}

// dumpStatistics puts what CRIU counted of the dump into the trace. They are decoded after the freeze, and a move is as
// good without them.
func (a *Agent) dumpStatistics(m *sourceMove) {
	found, err := (engine.Host{Dir: a.cfg.Dir}).DumpStatistics(m.op)
	if err != nil {
		a.log.Warn("statistics of CRIU", "op", m.op, "err", err)
		return
	}
	if m.trace.Criu == nil {
		m.trace.Criu = map[string]float64{}
	}
	maps.Copy(m.trace.Criu, found)
}

// restoreStatistics are those of the restore here, for the source's trace.
func (a *Agent) restoreStatistics(m *targetMove) map[string]float64 {
	found, err := (engine.Host{Dir: a.cfg.Dir}).RestoreStatistics(m.op)
	if err != nil {
		a.log.Warn("statistics of CRIU", "op", m.op, "err", err)
	}
	return found
}
