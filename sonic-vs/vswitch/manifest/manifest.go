// Package manifest reads the manifest of a SONiC application extension: the label that tells a switch how to run an image.
//
// It reads the JSON text and writes nothing. It follows sonic-package-manager's schema, but is stricter: a key that SONiC
// would silently drop is an error here, so that a typing mistake is found before a switch ignores it.
package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Label is the image label that holds the manifest.
const Label = "com.azure.sonic.manifest"

// Manifest says what a package needs from the switch.
type Manifest struct {
	Version   string // of the manifest schema
	Package   Package
	Service   Service
	Container Container
	Processes []Process
	CLI       CLI
}

// Package is how the package manager sees the image.
type Package struct {
	Name        string
	Version     string // x.y.z
	Description string
	DebugDump   string            // command in the container; its output goes into `show techsupport`
	BaseOS      map[string]string // component: constraint
	Depends     []string          // "name>=1.0.0"
	Breaks      []string
	InitCfg     map[string]any // CONFIG_DB rows that exist from the install on; present values win
	Changelog   map[string]any
}

// Service is how the switch starts and stops the container. Lists hold names of services.
type Service struct {
	Name              string // container, unit and FEATURE key; at most 32 characters
	Requires          []string
	Requisite         []string
	WantedBy          []string
	After             []string
	Before            []string
	Dependent         []string
	DependentOf       []string
	PostStartAction   string // command in the container
	PreShutdownAction string // command in the container
	ASICService       bool
	HostService       bool
	Delayed           bool
	CheckUpStatus     bool
	Type              string
	StopTime          string // seconds for docker stop -t
	WarmShutdown      Order
	FastShutdown      Order
	SyslogRateLimit   bool
}

// Order places a service among the others when the switch shuts down for a reboot.
type Order struct {
	After, Before []string
}

// Container is what the container gets from the switch beyond what every extension gets.
type Container struct {
	Privileged  bool
	Volumes     []string // source:target[:options]
	Mounts      []Mount
	Environment map[string]string
	Tmpfs       []string
}

// Mount is a docker --mount.
type Mount struct {
	Source, Target, Type string
}

// Process is one process the package runs; a reconciling one is waited for after a warm reboot.
type Process struct {
	Name       string
	Reconciles bool
}

// CLI names files in the image that extend the switch's command line.
type CLI struct {
	Mandatory           bool
	Show, Config, Clear []string
	AutoGenerateShow    bool
	AutoGenerateConfig  bool
	ShowYANGModules     []string
	ConfigYANGModules   []string
}

// Parse reads and checks a manifest. An error names the key.
func Parse(text []byte) (Manifest, error) {
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	r := &reader{}
	top := r.object("", doc)
	var m Manifest
	m.Version = top.text("version", "1.0.0")
	if !semver(m.Version) {
		r.fail("version", "%q is not x.y.z", m.Version)
	}
	m.Package = readPackage(top.child("package"))
	m.Service = readService(top.child("service"))
	m.Container = readContainer(top.child("container"))
	for _, p := range top.objects("processes") {
		m.Processes = append(m.Processes, Process{Name: p.required("name"), Reconciles: p.flag("reconciles", false)})
		p.end()
	}
	m.CLI = readCLI(top.child("cli"))
	top.end()
	if r.err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", r.err)
	}
	return m, nil
}

func readPackage(o *object) Package {
	p := Package{
		Name:        o.required("name"),
		Version:     o.required("version"),
		Description: o.text("description", ""),
		DebugDump:   o.text("debug-dump", ""),
		BaseOS:      o.texts("base-os"),
		Depends:     o.dependencies("depends"),
		Breaks:      o.dependencies("breaks"),
		InitCfg:     o.free("init-cfg"),
		Changelog:   o.free("changelog"),
	}
	if p.Name != "" && !name(p.Name) {
		o.fail("name", "%q: want letters, digits, - and _", p.Name)
	}
	if p.Version != "" && !semver(p.Version) {
		o.fail("version", "%q is not x.y.z", p.Version)
	}
	o.end()
	return p
}

func readService(o *object) Service {
	s := Service{
		Name:              o.required("name"),
		Requires:          o.list("requires"),
		Requisite:         o.list("requisite"),
		WantedBy:          o.list("wanted-by"),
		After:             o.list("after"),
		Before:            o.list("before"),
		Dependent:         o.list("dependent"),
		DependentOf:       o.list("dependent-of"),
		PostStartAction:   o.text("post-start-action", ""),
		PreShutdownAction: o.text("pre-shutdown-action", ""),
		ASICService:       o.flag("asic-service", false),
		HostService:       o.flag("host-service", true),
		Delayed:           o.flag("delayed", false),
		CheckUpStatus:     o.flag("check_up_status", false),
		Type:              o.text("type", ""),
		StopTime:          o.text("stop-time", ""),
		WarmShutdown:      readOrder(o.child("warm-shutdown")),
		FastShutdown:      readOrder(o.child("fast-shutdown")),
	}
	syslog := o.child("syslog")
	s.SyslogRateLimit = syslog.flag("support-rate-limit", false)
	syslog.end()
	if s.Name != "" && (!name(s.Name) || len(s.Name) > 32) { // the FEATURE key's limit in SONiC's YANG
		o.fail("name", "%q: want at most 32 letters, digits, - and _", s.Name)
	}
	if s.StopTime != "" && !digits(s.StopTime) {
		o.fail("stop-time", "%q: want seconds, as text", s.StopTime)
	}
	o.end()
	return s
}

func readOrder(o *object) Order {
	order := Order{After: o.list("after"), Before: o.list("before")}
	o.end()
	return order
}

func readContainer(o *object) Container {
	c := Container{
		Privileged:  o.flag("privileged", false),
		Volumes:     o.list("volumes"),
		Environment: o.scalars("environment"),
		Tmpfs:       o.list("tmpfs"),
	}
	for i, v := range c.Volumes {
		if !volume(v) {
			o.fail(fmt.Sprintf("volumes[%d]", i), "%q: want /source:/target[:options] without spaces", v)
		}
	}
	for _, m := range o.objects("mounts") {
		c.Mounts = append(c.Mounts, Mount{Source: m.required("source"), Target: m.required("target"), Type: m.required("type")})
		m.end()
	}
	o.end()
	return c
}

func readCLI(o *object) CLI {
	c := CLI{
		Mandatory:          o.flag("mandatory", false),
		Show:               o.paths("show"),
		Config:             o.paths("config"),
		Clear:              o.paths("clear"),
		AutoGenerateShow:   o.flag("auto-generate-show", false),
		AutoGenerateConfig: o.flag("auto-generate-config", false),
		ShowYANGModules:    o.list("auto-generate-show-source-yang-modules"),
		ConfigYANGModules:  o.list("auto-generate-config-source-yang-modules"),
	}
	o.end()
	return c
}

// Requires lists the packages that must be installed, without their version constraints, sorted.
func (p Package) Requires() []string {
	var names []string
	for _, d := range p.Depends {
		n, _, _ := splitDependency(d)
		names = append(names, n)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
