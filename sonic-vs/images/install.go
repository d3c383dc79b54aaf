package images

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/sonic-vs/vswitch"
	"sonic-netservices/sonic-vs/vswitch/manifest"
)

// Switch is a switch as its package manager reaches it.
type Switch struct {
	Root   string // where its files are seen
	Docker *client.Client
	Config *sonicdb.DB // CONFIG_DB
	State  *sonicdb.DB // STATE_DB
}

// builtin packages of a virtual switch, which others may depend on; all are 1.0.0, as on a switch.
var builtin = []string{"database", "lldp", "swss", "syncd"}

// Install does what `sonic-package-manager install --from-tarball` does: checks the manifest, loads the image, writes
// the FEATURE row, which starts the container if enable is set. Installing the same image again only writes the row.
func (s Switch) Install(ctx context.Context, tarball string, enable bool) (vswitch.Package, error) {
	f, err := os.Open(tarball)
	if err != nil {
		return vswitch.Package{}, err
	}
	defer f.Close()
	t, err := ReadTarball(f)
	if err != nil {
		return vswitch.Package{}, fmt.Errorf("%s: %w", tarball, err)
	}
	installed, err := vswitch.ReadPackages(s.Root)
	if err != nil {
		return vswitch.Package{}, err
	}
	if err := check(t, installed); err != nil {
		return vswitch.Package{}, fmt.Errorf("%s: %w", t.Tag, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return vswitch.Package{}, err
	}
	if err := s.load(ctx, f, t); err != nil {
		return vswitch.Package{}, fmt.Errorf("load %s: %w", t.Tag, err)
	}
	m := t.Manifest
	repository, _, _ := strings.Cut(t.Tag, ":")
	p := vswitch.Package{Repository: repository, Description: m.Package.Description, Installed: true, Version: m.Package.Version, ImageID: t.ID}
	installed[m.Package.Name] = p
	if err := vswitch.WritePackages(s.Root, installed); err != nil {
		return vswitch.Package{}, err
	}
	if err := s.initConfig(ctx, m); err != nil {
		return vswitch.Package{}, err
	}
	if err := s.writeRow(ctx, "FEATURE", m.Service.Name, featureRow(m, enable)); err != nil {
		return vswitch.Package{}, err
	}
	slog.Info("installed", "service", m.Service.Name, "image", t.Tag, "state", onOff(enable))
	return p, nil
}

// check looks for what this switch lacks.
func check(t Tarball, installed map[string]vswitch.Package) error {
	have := map[string]bool{}
	for _, name := range builtin {
		have[name] = true
	}
	for name := range installed {
		have[name] = true
	}
	for _, name := range t.Manifest.Package.Requires() {
		if !have[name] {
			return fmt.Errorf("package.depends: %s is not installed", name)
		}
	}
	if old, ok := installed[t.Manifest.Package.Name]; ok && old.ImageID != t.ID {
		return fmt.Errorf("version %s is installed from another image: uninstall it first", old.Version)
	}
	return nil
}

// load gives the tarball to the engine, unless it has the image, and sees that it took it under the same ID.
func (s Switch) load(ctx context.Context, tarball io.Reader, t Tarball) error {
	if _, err := s.Docker.ImageInspect(ctx, t.ID); err == nil {
		return nil
	}
	answer, err := s.Docker.ImageLoad(ctx, tarball, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := buildResult(answer.Body); err != nil {
		return err
	}
	if _, err := s.Docker.ImageInspect(ctx, t.ID); err != nil {
		return fmt.Errorf("the engine has it under another ID: %w", err)
	}
	return nil
}

// removeContainers removes all containers of an image, or of one made from it, by force, whoever made them: so does
// sonic-package-manager before it upgrades or removes a package.
func (s Switch) removeContainers(ctx context.Context, id string) error {
	list, err := s.Docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("ancestor", id))})
	if err != nil {
		return err
	}
	for _, c := range list {
		if err := s.Docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// featureRow is CONFIG_DB FEATURE|<service> as the package manager registers it.
func featureRow(m manifest.Manifest, enable bool) map[string]string {
	word := map[bool]string{true: "True", false: "False"}
	return map[string]string{
		"state":                     onOff(enable),
		"auto_restart":              "enabled",
		"high_mem_alert":            "disabled",
		"set_owner":                 "local",
		"has_per_asic_scope":        word[m.Service.ASICService],
		"has_global_scope":          word[m.Service.HostService],
		"delayed":                   word[m.Service.Delayed],
		"check_up_status":           word[m.Service.CheckUpStatus],
		"support_syslog_rate_limit": word[m.Service.SyslogRateLimit],
	}
}

func onOff(enable bool) string {
	if enable {
		return "enabled"
	}
	return "disabled"
}

// initConfig writes package.init-cfg; a row that exists wins field by field.
func (s Switch) initConfig(ctx context.Context, m manifest.Manifest) error {
	for table, v := range m.Package.InitCfg {
		rows, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("package.init-cfg.%s: want an object of rows", table)
		}
		for key, v := range rows {
			fields, ok := v.(map[string]any)
			if !ok {
				return fmt.Errorf("package.init-cfg.%s.%s: want an object of fields", table, key)
			}
			row := map[string]string{}
			for f, value := range fields {
				row[f] = fmt.Sprint(value)
			}
			there, err := s.Config.HGetAll(ctx, s.Config.Key(table, key))
			if err != nil {
				return err
			}
			for f, value := range there {
				row[f] = value
			}
			if err := s.writeRow(ctx, table, key, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeRow writes a row of CONFIG_DB to the running and to the saved configuration.
func (s Switch) writeRow(ctx context.Context, table, key string, row map[string]string) error {
	if err := vswitch.SaveRow(s.Root, table, key, row); err != nil {
		return err
	}
	if row == nil {
		return s.Config.Del(ctx, s.Config.Key(table, key))
	}
	return s.Config.Replace(ctx, s.Config.Key(table, key), row)
}

// Uninstall removes a package whose feature is disabled: container, image, FEATURE row. Its files in /host stay.
func (s Switch) Uninstall(ctx context.Context, name string) error {
	installed, err := vswitch.ReadPackages(s.Root)
	if err != nil {
		return err
	}
	p, ok := installed[name]
	if !ok {
		return fmt.Errorf("package %s is not installed", name)
	}
	img, err := s.Docker.ImageInspect(ctx, p.ImageID)
	if err != nil {
		return fmt.Errorf("inspect image: %w", err)
	}
	m, err := manifest.Parse([]byte(img.Config.Labels[manifest.Label]))
	if err != nil {
		return err
	}
	service := m.Service.Name
	want, err := s.Config.HGetAll(ctx, s.Config.Key("FEATURE", service))
	if err != nil {
		return err
	}
	is, err := s.State.HGetAll(ctx, s.State.Key("FEATURE", service))
	if err != nil {
		return err
	}
	if want["state"] == "enabled" || is["system_state"] == "up" {
		return fmt.Errorf("feature %s is enabled: disable it first", service)
	}
	if err := s.removeContainers(ctx, p.ImageID); err != nil {
		return fmt.Errorf("remove containers: %w", err)
	}
	delete(installed, name)
	if err := vswitch.WritePackages(s.Root, installed); err != nil {
		return err
	}
	if err := s.writeRow(ctx, "FEATURE", service, nil); err != nil {
		return err
	}
	if _, err := s.Docker.ImageRemove(ctx, img.ID, image.RemoveOptions{PruneChildren: true, Force: true}); err != nil {
		return fmt.Errorf("remove image: %w", err)
	}
	slog.Info("uninstalled", "service", service)
	return nil
}
