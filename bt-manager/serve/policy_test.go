package serve

import (
	"strings"
	"testing"
	"time"
)

func TestPolicy(t *testing.T) {
	p, err := policyOf(map[string]string{"threshold": "0.9", "samples": "2", "period_ms": "500", "threshold_storage": "0.95", "majority": "false"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Threshold != 0.9 || p.Samples != 2 || p.Period != 500*time.Millisecond || p.Majority || p.Of("storage").Threshold != 0.95 || p.Of("compute").Threshold != 0.9 {
		t.Errorf("%+v", p)
	}
	if _, err := policyOf(nil); err != nil {
		t.Errorf("no policy at all: %v", err)
	}
	for field, value := range map[string]string{"threshold": "1.8", "samples": "0", "thresold": "0.8", "clear": "0.9",
		"majority": "perhaps", "period_ms": "1s", "threshold_": "0.8"} {
		if _, err := policyOf(map[string]string{field: value}); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(strings.TrimSuffix(field, "_ms"))) {
			t.Errorf("%s=%s: %v", field, value, err)
		}
	}
}
