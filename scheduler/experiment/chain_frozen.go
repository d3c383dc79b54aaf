package experiment

import (
	"embed"
	"encoding/json"
	"fmt"

	"sonic-netservices/plan"
	"sonic-netservices/plan/chain"
)

//go:embed frozen/*.json
var frozenFiles embed.FS

// frozenChain is a small problem whose optimum CBC has proved (chain_oracle_test.go does it again).
type frozenChain struct {
	Name    string        `json:"name"`
	Optimum float64       `json:"optimum"` // eq. 17
	Solver  string        `json:"solver"`
	Nodes   []plan.Node   `json:"nodes"`
	Links   []plan.Link   `json:"links"`
	Problem chain.Problem `json:"problem"`
}

func frozenChains() ([]frozenChain, error) {
	entries, err := frozenFiles.ReadDir("frozen")
	if err != nil {
		return nil, fmt.Errorf("frozen chains: %w", err)
	}
	var all []frozenChain
	for _, entry := range entries {
		text, err := frozenFiles.ReadFile("frozen/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("frozen chains: %w", err)
		}
		var f frozenChain
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, fmt.Errorf("frozen chains: %s: %w", entry.Name(), err)
		}
		all = append(all, f)
	}
	return all, nil
}
