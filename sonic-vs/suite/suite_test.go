package suite

import "testing"

func TestJoined(t *testing.T) {
	const ready = "level=INFO msg=\"agent ready\" node=leaf1\r\n"
	for name, tt := range map[string]struct {
		log  string
		want int
	}{
		"nothing said":     {"", 0},
		"serves":           {ready, 0},
		"joined":           {ready + "msg=members count=1\r\nmsg=members count=3\r\n", 3},
		"joined too early": {"msg=members count=3\r\n", 0},
		"connection lost":  {ready + "msg=members count=3\r\nmsg=\"not joined\" peer=10.1.0.3:7301 err=away\r\n", 0},
		"joined again":     {ready + "msg=members count=3\r\nmsg=\"not joined\" err=away\r\nmsg=members count=12\r\n", 12},
	} {
		if got := joined([]byte(tt.log)); got != tt.want {
			t.Errorf("%s: %d members, want %d", name, got, tt.want)
		}
	}
}
