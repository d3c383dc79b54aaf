// Package journal keeps what bt-manager must not forget: a sequence of records.
//
// It reads and writes one file under /host/netservices/bt-manager, and is told by bt-manager/orders, which appends a
// record before it acts on it and replays all of them at start. Behind Log a replicated log can stand later.
package journal

// Log is a durable sequence of records. One goroutine uses it.
type Log interface {
	// Append stores one record, a JSON value. When it returns nil the record survives a power cut.
	Append(record []byte) error
	// Rewrite puts one record in the place of all there are: a crash leaves the old ones or the new one.
	Rewrite(record []byte) error
	// Replay calls each with every record in order. It is called once, before the first Append.
	Replay(each func(record []byte) error) error
	Close() error
}
