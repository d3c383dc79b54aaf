package images

import (
	"encoding/xml"
	"flag"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sonic-netservices/n2n-edge/edge"
	"sonic-netservices/n2n-supernode/serve"
)

// yin is a module as XML, of that what the test looks at.
type yin struct {
	Top struct {
		Table struct {
			Rows []struct {
				Name   string `xml:"name,attr"`
				Leaves []struct {
					Name    string `xml:"name,attr"`
					Default struct {
						Value string `xml:"value,attr"`
					} `xml:"default"`
				} `xml:"leaf"`
			} `xml:"container"`
		} `xml:"container"`
	} `xml:"container"`
}

// Every leaf of the overlay's programs is a flag of the program, with the same default, and every flag that means something on a
// switch is a leaf.
func TestYANGIsTheFlags(t *testing.T) {
	text, err := exec.Command("yanglint", "-f", "yin", "../../api/yang/sonic-netservices.yang").Output()
	if err != nil {
		t.Fatalf("yanglint, which make setup installs: %v", err)
	}
	var module yin
	if err := xml.Unmarshal(text, &module); err != nil {
		t.Fatal(err)
	}
	edgeFlags, superFlags := flag.NewFlagSet("", flag.ContinueOnError), flag.NewFlagSet("", flag.ContinueOnError)
	new(edge.Config).Flags(edgeFlags)
	new(serve.Config).Flags(superFlags)
	programs := map[string]*flag.FlagSet{"edge": edgeFlags, "supernode": superFlags}
	for _, row := range module.Top.Table.Rows {
		flags := programs[row.Name]
		if flags == nil {
			continue
		}
		delete(programs, row.Name)
		leaves := map[string]bool{}
		for _, leaf := range row.Leaves {
			leaves[leaf.Name] = true
			f := flags.Lookup(strings.ReplaceAll(leaf.Name, "_", "-"))
			switch {
			case f == nil:
				t.Errorf("leaf %s of %s is no flag", leaf.Name, row.Name)
			case f.DefValue != "" && !sameSetting(f.DefValue, leaf.Default.Value):
				t.Errorf("leaf %s of %s: the default is %q, of the flag %q", leaf.Name, row.Name, leaf.Default.Value, f.DefValue)
			}
		}
		flags.VisitAll(func(f *flag.Flag) {
			if !leaves[strings.ReplaceAll(f.Name, "-", "_")] {
				t.Errorf("flag -%s is no leaf of %s", f.Name, row.Name)
			}
		})
	}
	for name := range programs {
		t.Errorf("the model has no row for %s", name)
	}
}

// sameSetting compares two values that may be durations.
func sameSetting(a, b string) bool {
	one, err := time.ParseDuration(a)
	other, bad := time.ParseDuration(b)
	return a == b || err == nil && bad == nil && one == other
}
