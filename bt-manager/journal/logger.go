package journal

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// logger is what the libraries write their log to.
type logger struct{ hclog.InterceptLogger }

func newLogger(log *slog.Logger) *logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	l.RegisterSink(sink{log})
	return &logger{l}
}

// sink passes lines on. What the libraries call information is of use to who debugs them; what they call an error is a
// manager that does not answer.
type sink struct{ log *slog.Logger }

func (s sink) Accept(_ string, level hclog.Level, msg string, args ...interface{}) {
	to := slog.LevelDebug
	if level >= hclog.Warn {
		to = slog.LevelWarn
	}
	s.log.Log(context.Background(), to, "journal: "+msg, args...)
}
