package n2n

// null is the transform that does nothing.
type null struct{}

func (null) ID() TransformID { return TransformNull }

func (null) Overhead() int { return 0 }

func (null) Seal(dst, frame []byte) []byte { return append(dst, frame...) }

func (null) Open(dst, payload []byte) ([]byte, error) { return append(dst, payload...), nil }
