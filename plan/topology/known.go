package topology

import (
	"fmt"
	"slices"
	"strings"

	"sonic-netservices/plan/chance"
	"sonic-netservices/plan/graph"
)

// known are real networks, typed for this project from what was published about them: who is joined to whom, and about
// where it lies. Places are degrees of longitude and latitude.
var known = []struct {
	name, source string
	places       string // "name longitude latitude", a line each
	links        string // "name neighbour ...", a line each
}{
	{"abilene", "SNDlib, network abilene (Internet2, 2004)", abileneNodes, abileneLinks},
	{"geant", "SNDlib, network geant (GÉANT, 2005; nodes by the city that they are in)", geantNodes, geantLinks},
	{"germany50", "SNDlib, network germany50", germanyNodes, germanyLinks},
	{"nobel-eu", "SNDlib, network nobel-eu (basic topology of COST 266)", nobelNodes, nobelLinks},
}

const abileneNodes = `
atlanta -84.3833 33.75
atlanta-m5 -84.3833 33.75
chicago -87.6167 41.8333
denver -105 40.75
houston -95.517364 29.770031
indianapolis -86.159535 39.780622
kansas-city -96.596704 38.961694
los-angeles -118.25 34.05
new-york -73.9667 40.7833
seattle -122.3 47.6
sunnyvale -122.02553 37.38575
washington -77.026842 38.897303
`

const abileneLinks = `
atlanta atlanta-m5 houston indianapolis washington
chicago indianapolis new-york
denver kansas-city sunnyvale seattle
houston kansas-city los-angeles
indianapolis kansas-city
los-angeles sunnyvale
new-york washington
seattle sunnyvale
`

const nobelNodes = `
amsterdam 4.9 52.4
athens 23.7 38
barcelona 2.2 41.4
belgrade 20.5 44.8
berlin 13.4 52.5
bordeaux -0.6 44.8
brussels 4.4 50.8
budapest 19 47.5
copenhagen 12.6 55.7
dublin -6.3 53.3
frankfurt 8.7 50.1
glasgow -4.3 55.9
hamburg 10 53.6
london -0.1 51.5
lyon 4.8 45.8
madrid -3.7 40.4
milan 9.2 45.5
munich 11.6 48.1
oslo 10.8 59.9
paris 2.4 48.9
prague 14.4 50.1
rome 12.5 41.9
stockholm 18.1 59.3
strasbourg 7.8 48.6
vienna 16.4 48.2
warsaw 21 52.2
zagreb 16 45.8
zurich 8.5 47.4
`

const nobelLinks = `
amsterdam brussels glasgow hamburg london
athens belgrade rome
barcelona lyon madrid
belgrade budapest zagreb
berlin copenhagen hamburg munich prague warsaw
bordeaux madrid paris
brussels frankfurt paris
budapest prague warsaw
copenhagen oslo
dublin glasgow london
frankfurt hamburg munich strasbourg
london paris
lyon paris zurich
milan munich rome zurich
munich vienna
oslo stockholm
paris strasbourg
prague vienna
rome zagreb
stockholm warsaw
strasbourg zurich
vienna zagreb
`

const geantNodes = `
amsterdam 4.94 52.32
athens 23.58 37.98
bratislava 17.13 48.15
brussels 4.35 50.85
budapest 19.09 47.5
dublin -6.26 53.34
frankfurt 8.68 50.11
geneva 6.14 46.2
lisbon -9.14 38.71
ljubljana 14.51 46.06
london -0.13 51.51
luxembourg 6.13 49.61
madrid -3.7 40.42
milan 9.19 45.46
new-york -73.94 40.67
paris 2.35 48.86
poznan 16.89 52.4
prague 14.44 50.08
stockholm 17.87 59.36
tel-aviv 34.81 32.07
vienna 16.37 48.21
zagreb 15.96 45.81
`

const geantLinks = `
amsterdam brussels frankfurt london tel-aviv
athens frankfurt milan
bratislava budapest prague
brussels luxembourg paris
budapest vienna zagreb
dublin frankfurt london
frankfurt milan paris prague stockholm vienna
geneva milan paris vienna
lisbon london madrid
ljubljana vienna zagreb
london new-york paris stockholm
luxembourg paris
madrid milan paris
milan tel-aviv
new-york vienna
poznan prague stockholm
`

const germanyNodes = `
aachen 6.04 50.76
augsburg 10.9 48.33
bayreuth 11.59 49.93
berlin 13.39 52.52
bielefeld 8.5 52.04
braunschweig 10.55 52.28
bremen 8.85 53.11
bremerhaven 8.58 53.54
chemnitz 12.93 50.84
darmstadt 8.65 49.89
dortmund 7.45 51.51
dresden 13.73 51.03
duesseldorf 6.77 51.25
erfurt 11.04 50.98
essen 7.02 51.46
flensburg 9.45 54.77
frankfurt 8.71 50.12
freiburg 7.8 47.98
fulda 9.69 50.56
giessen 8.67 50.57
greifswald 13.4 54.09
hamburg 9.99 53.57
hannover 9.72 52.38
kaiserslautern 7.75 49.43
karlsruhe 8.41 49.01
kassel 9.51 51.32
kempten 10.32 47.72
kiel 10.12 54.34
koblenz 7.52 50.4
koeln 6.87 50.94
konstanz 9.18 47.66
leipzig 12.38 51.34
magdeburg 11.64 52.14
mannheim 8.49 49.49
muenchen 11.57 48.15
muenster 7.6 51.97
norden 7.21 53.6
nuernberg 11.03 49.57
oldenburg 8.21 53.11
osnabrueck 8.03 52.28
passau 13.46 48.57
regensburg 12.09 49
saarbruecken 7.03 49.23
schwerin 11.45 53.55
siegen 8.03 50.91
stuttgart 9.1 48.74
trier 6.68 49.75
ulm 9.99 48.4
wesel 6.37 51.39
wuerzburg 9.97 49.78
`

const germanyLinks = `
aachen koeln trier wesel
augsburg muenchen ulm wuerzburg
bayreuth chemnitz leipzig nuernberg
berlin dresden greifswald leipzig magdeburg schwerin
bielefeld braunschweig hannover muenster siegen
braunschweig hamburg hannover kassel magdeburg
bremen bremerhaven hannover oldenburg
bremerhaven flensburg
chemnitz dresden erfurt
darmstadt frankfurt kaiserslautern mannheim
dortmund essen kassel muenster siegen
dresden erfurt leipzig
duesseldorf essen koeln
erfurt kassel leipzig wuerzburg
essen wesel
flensburg kiel
frankfurt fulda giessen koblenz
freiburg karlsruhe konstanz
fulda giessen kassel wuerzburg
giessen kassel siegen
greifswald schwerin
hamburg hannover kiel schwerin
hannover osnabrueck
kaiserslautern karlsruhe koblenz saarbruecken
karlsruhe mannheim saarbruecken stuttgart
kempten konstanz muenchen
kiel schwerin
koblenz koeln siegen trier
konstanz stuttgart
leipzig magdeburg
magdeburg schwerin
muenchen nuernberg passau regensburg
muenster osnabrueck
norden oldenburg wesel
nuernberg regensburg wuerzburg
oldenburg osnabrueck wesel
passau regensburg
saarbruecken trier
stuttgart ulm wuerzburg
`

// Random networks that ByName makes, as experiments use them.
var drawn = map[string]func(r *chance.Rand) (Topology, error){
	"waxman": func(r *chance.Rand) (Topology, error) { return Waxman(r, 50, 120, 0.08) },
	"transit-stub": func(r *chance.Rand) (Topology, error) {
		return TransitStub(r, Stub{Transit: 5, Stubs: 3, Size: 3, Dense: 0.5})
	},
}

// Choices are the names that ByName knows.
func Choices() string {
	var names []string
	for _, k := range known {
		names = append(names, k.name)
	}
	for name := range drawn {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// ByName gives a real network, or draws a random one by the seed; ok false when no network has that name.
func ByName(name string, seed uint64) (t Topology, ok bool, err error) {
	for _, k := range known {
		if k.name == name {
			t, err := typed(k.name, k.source, k.places, k.links)
			return t, true, err
		}
	}
	if draw, ok := drawn[name]; ok {
		t, err := draw(chance.New(seed, "topology", name))
		return t, true, err
	}
	return Topology{}, false, nil
}

// typed reads a network of the table.
func typed(name, source, places, links string) (Topology, error) {
	t := Topology{Name: name, Source: source}
	index := map[string]int32{}
	for line := range strings.Lines(strings.TrimSpace(places)) {
		var node string
		var longitude, latitude float64
		if _, err := fmt.Sscan(line, &node, &longitude, &latitude); err != nil {
			return t, fmt.Errorf("topology %s: %q: %w", name, line, err)
		}
		if len(t.Names) > 0 && node <= t.Names[len(t.Names)-1] {
			return t, fmt.Errorf("topology %s: %s is not in order", name, node)
		}
		index[node] = int32(len(t.Names))
		t.Names, t.X, t.Y = append(t.Names, node), append(t.X, kmPerDegree*longitude*0.7), append(t.Y, kmPerDegree*latitude)
	}
	seen := map[graph.Pair]bool{}
	for line := range strings.Lines(strings.TrimSpace(links)) {
		words := strings.Fields(line)
		for _, to := range words[1:] {
			a, okA := index[words[0]]
			b, okB := index[to]
			pair := graph.Pair{A: min(a, b), B: max(a, b)}
			if !okA || !okB || a == b || seen[pair] {
				return t, fmt.Errorf("topology %s: link %s %s: no such node, or there already", name, words[0], to)
			}
			seen[pair] = true
			t.Links = append(t.Links, pair)
		}
	}
	if _, parts := t.Graph().Components(); parts != 1 {
		return t, fmt.Errorf("topology %s: is in %d parts", name, parts)
	}
	return t, nil
}

// kmPerDegree of latitude; of longitude it is 0.7 of that at the 45 degrees these networks lie around.
const kmPerDegree = 111.2
