package vswitch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/client"

	"sonic-netservices/sonic-vs/vswitch/manifest"
)

const dockerSocket = "/var/run/docker.sock"

// dockerd has the flags and the socket of a switch's units: a container that has the socket mounted has it still when
// dockerd was started again. daemon.json belongs to whoever needs one (mig-agent registers its runtime).
func dockerd() process {
	return process{
		name:   "dockerd",
		socket: dockerSocket,
		argv: []string{"dockerd", "-H", "fd://", "--storage-driver=overlay2", "--bip=240.127.1.1/24",
			"--iptables=false", "--ip6tables=false"},
		// A pid file of a killed dockerd would stop the next one: its number may be in use by then.
		before: []string{"/run/docker.pid"},
	}
}

// DockerAt connects to a Docker engine by its socket.
func DockerAt(socket string) (*client.Client, error) {
	return client.NewClientWithOpts(client.WithHost("unix://"+socket), client.WithAPIVersionNegotiation())
}

// containers runs the containers of features, as the scripts in /usr/bin/<service>.sh do on a switch.
type containers struct {
	docker *client.Client
}

// installed finds the image of a feature among the installed packages.
func (c containers) installed(ctx context.Context, service string) (Package, manifest.Manifest, error) {
	all, err := ReadPackages("/")
	if err != nil {
		return Package{}, manifest.Manifest{}, err
	}
	for _, p := range all {
		image, err := c.docker.ImageInspect(ctx, p.ImageID)
		if errdefs.IsNotFound(err) {
			continue // somebody removed it by hand; the other packages go on
		}
		if err != nil {
			return Package{}, manifest.Manifest{}, fmt.Errorf("inspect image of %s: %w", p.Repository, err)
		}
		m, err := manifest.Parse([]byte(image.Config.Labels[manifest.Label]))
		if err != nil {
			return Package{}, manifest.Manifest{}, err
		}
		if m.Service.Name == service {
			return p, m, nil
		}
	}
	return Package{}, manifest.Manifest{}, fmt.Errorf("no installed package with an image has the service %s", service)
}

// start creates the container once and starts the same one ever after. One of an older image is made anew.
func (c containers) start(ctx context.Context, service string) (id, version string, err error) {
	p, m, err := c.installed(ctx, service)
	if err != nil {
		return "", "", err
	}
	old, err := c.docker.ContainerInspect(ctx, service)
	switch {
	case errdefs.IsNotFound(err):
	case err != nil:
		return "", "", fmt.Errorf("inspect container: %w", err)
	case old.Image == p.ImageID:
		id = old.ID
	default:
		if err := c.docker.ContainerRemove(ctx, service, container.RemoveOptions{Force: true}); err != nil {
			return "", "", fmt.Errorf("remove container of the former image: %w", err)
		}
	}
	if id == "" {
		config, host := containerConfig(m, c.reference(ctx, p))
		made, err := c.docker.ContainerCreate(ctx, config, host, nil, nil, service)
		if err != nil {
			return "", "", fmt.Errorf("create container: %w", err)
		}
		id = made.ID
	}
	if err := c.docker.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return "", "", fmt.Errorf("start container: %w", err)
	}
	if err := c.action(ctx, id, m.Service.PostStartAction); err != nil {
		return "", "", errors.Join(err, c.docker.ContainerStop(ctx, id, container.StopOptions{}))
	}
	return id, p.Version, nil
}

// reference names the image of a package by its tag, for people who read docker ps, while the tag is still that image's.
func (c containers) reference(ctx context.Context, p Package) string {
	tag := p.Repository + ":" + p.Version
	if image, err := c.docker.ImageInspect(ctx, tag); err != nil || image.ID != p.ImageID {
		return p.ImageID
	}
	return tag
}

// stop runs the service's own goodbye and stops its container; SIGKILL follows after ten seconds or stop-time.
func (c containers) stop(ctx context.Context, service string) error {
	var options container.StopOptions
	if _, m, err := c.installed(ctx, service); err == nil { // else it was uninstalled under way
		if err := c.action(ctx, service, m.Service.PreShutdownAction); err != nil {
			return err
		}
		var seconds int
		if n, _ := fmt.Sscan(m.Service.StopTime, &seconds); n == 1 {
			options.Timeout = &seconds
		}
	}
	if err := c.docker.ContainerStop(ctx, service, options); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("stop container: %w", err)
	}
	return nil
}

// action runs a command of the manifest in the container, to its end.
func (c containers) action(ctx context.Context, id, command string) error {
	if command == "" {
		return nil
	}
	made, err := c.docker.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: strings.Fields(command), Tty: true, AttachStdout: true})
	if err != nil {
		return fmt.Errorf("exec %s: %w", command, err)
	}
	run, err := c.docker.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: true})
	if err != nil {
		return fmt.Errorf("exec %s: %w", command, err)
	}
	defer run.Close()
	if _, err := io.Copy(io.Discard, run.Reader); err != nil {
		return fmt.Errorf("exec %s: %w", command, err)
	}
	return nil
}

// ended waits until the container does not run any more and gives its exit code, -1 when it is not known. A dockerd that dies takes its containers along; one with
// live-restore does not, so the container is asked about again when dockerd is back.
func (c containers) ended(ctx context.Context, id string) int64 {
	for ctx.Err() == nil {
		exit, failed := c.docker.ContainerWait(ctx, id, container.WaitConditionNotRunning)
		select {
		case e := <-exit:
			return e.StatusCode
		case err := <-failed:
			if errdefs.IsNotFound(err) {
				return -1
			}
			pause(ctx, retryDocker)
		}
	}
	return -1
}

// containerConfig is what docker_image_ctl gives every extension, and what the manifest declares. Nothing else: no
// Docker socket, no capability, unless the manifest has it.
func containerConfig(m manifest.Manifest, image string) (*container.Config, *container.HostConfig) {
	env := []string{
		"RUNTIME_OWNER=local",
		"CONTAINER_NAME=" + m.Service.Name,
		"NAMESPACE_ID=", "NAMESPACE_PREFIX=asic", "NAMESPACE_COUNT=1", "DEV=",
		"SYSLOG_TARGET_IP=127.0.0.1",
		"PLATFORM=" + platform,
	}
	for _, k := range slices.Sorted(maps.Keys(m.Container.Environment)) {
		env = append(env, k+"="+m.Container.Environment[k])
	}
	tmpfs := map[string]string{"/var/log/supervisor": ""}
	for _, t := range m.Container.Tmpfs {
		path, options, _ := strings.Cut(t, ":")
		tmpfs[path] = options
	}
	host := &container.HostConfig{
		Privileged:  m.Container.Privileged,
		NetworkMode: "host",
		UTSMode:     "host",
		Binds: append(slices.Clone(m.Container.Volumes),
			"/var/run/redis:/var/run/redis:rw",
			"/host/warmboot:/var/warmboot"),
		Tmpfs: tmpfs,
		LogConfig: container.LogConfig{
			Type:   "json-file",
			Config: map[string]string{"max-size": "2M", "max-file": "5"},
		},
	}
	for _, b := range m.Container.Mounts {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.Type(b.Type), Source: b.Source, Target: b.Target})
	}
	return &container.Config{Image: image, Tty: true, Env: env}, host
}
