package edge

// line is where several goroutines work on tasks, which come out in the order in which they went in.
//
//	take ─▶ (filled) ─▶ give ─┬─▶ work: any of the workers ─▶ done
//	  ▲                       └─▶ order ─────────────────────▶ next, which waits for done
//	  └──────────────────────────── back ◀──────────────────── (used)
//
// There are as many tasks as the line is deep: who takes waits for who gives back.
type line[T any] struct {
	free, work, order chan *task[T]
}

type task[T any] struct {
	of   T
	done chan struct{}
}

func newLine[T any](depth int, of func() T) *line[T] {
	l := &line[T]{make(chan *task[T], depth), make(chan *task[T], depth), make(chan *task[T], depth)}
	for range depth {
		l.free <- &task[T]{of(), make(chan struct{}, 1)}
	}
	return l
}

func (l *line[T]) take() *task[T] { return <-l.free }

// give lets a task be worked on. Both channels have room for all tasks.
func (l *line[T]) give(t *task[T]) {
	l.order <- t
	l.work <- t
}

// workOn works until the line is closed.
func (l *line[T]) workOn(f func(*T)) {
	for t := range l.work {
		f(&t.of)
		t.done <- struct{}{}
	}
}

// next gives the oldest task, worked on; nil after the last one of a closed line, or when there is none right now.
func (l *line[T]) next(wait bool) *task[T] {
	var t *task[T]
	if wait {
		t = <-l.order
	} else {
		select {
		case t = <-l.order:
		default:
		}
	}
	if t != nil {
		<-t.done
	}
	return t
}

func (l *line[T]) back(t *task[T]) { l.free <- t }

// close is called by who gives.
func (l *line[T]) close() {
	close(l.order)
	close(l.work)
}
