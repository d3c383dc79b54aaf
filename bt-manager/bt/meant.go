package bt

import (
	"fmt"
	"sort"
)

// Meant finds the known name a mistyped one is nearest to, as "; did you mean X?", or "" when none is near.
func Meant(typed string, known []string) string {
	sort.Strings(known)
	best, least := "", len([]rune(typed))/3+1
	for _, k := range known {
		if d := distance([]rune(typed), []rune(k)); d <= least && (best == "" || d < least) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance counts the letters to add, drop, change or swap with their neighbour.
func distance(a, b []rune) int {
	if len(a) > 64 || len(b) > 64 {
		return 1 << 10
	}
	row := func() []int { return make([]int, len(b)+1) }
	before, last, now := row(), row(), row()
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
