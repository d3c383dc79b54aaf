// Package engine is the container side of mig-agent: Docker's API for what Docker does well, runc and CRIU for what
// it does not, and the OCI runtime that turns an armed start into a restore.
//
// docker.go is used by the unprivileged agent and needs docker.sock only. criu.go, freezer.go and host.go are used by
// the helper, which stands in the switch's own namespaces. runtime.go runs as mig-runc, started by containerd's shim.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/client"
	"github.com/docker/docker/errdefs"
)

// Labels of the containers we make.
const (
	labelRole    = "netservices.role"    // RoleHolder, RoleService, RoleHelper
	labelReplica = "netservices.replica" // kms-0
)

// CgroupParent holds the node's services, and the node's CPU budget for them, apart from the agents and from CRIU.
const CgroupParent = "/netservices"

// ErrNotFound says that Docker knows no such container or image.
var ErrNotFound = errors.New("not found")

// Docker is the node's dockerd.
type Docker struct {
	cli   *client.Client
	ncpu  float64
	slice bool   // systemd cgroup driver: parents are slices
	root  string // folder of everything dockerd keeps
}

// OpenDocker connects and agrees on an API version.
func OpenDocker(ctx context.Context, socket string) (*Docker, error) {
	cli, err := client.NewClientWithOpts(client.WithHost("unix://"+socket), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("open docker: %w", err)
	}
	info, err := cli.Info(ctx)
	if err != nil {
		cli.Close()
		return nil, fmt.Errorf("open docker: %w", err)
	}
	return &Docker{cli: cli, ncpu: float64(info.NCPU), slice: info.CgroupDriver == "systemd", root: info.DockerRootDir}, nil
}

func (d *Docker) Close() error { return d.cli.Close() }

// aliveTime is long for a dockerd that lives, short for clients of a service that is frozen. The socket is systemd's: it
// takes connections while dockerd is dead.
const aliveTime = 500 * time.Millisecond

// Alive says whether dockerd answers.
func (d *Docker) Alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, aliveTime)
	defer cancel()
	if _, err := d.cli.Ping(ctx); err != nil {
		return fmt.Errorf("dockerd: %w", err)
	}
	return nil
}

// Image is a container image, known by its ID: the digest of its configuration, equal on every node.
type Image struct {
	ID    string
	Name  string // name:tag, "" when it has none
	Bytes int64
}

// Image looks an image up by ID or name.
func (d *Docker) Image(ctx context.Context, ref string) (Image, error) {
	in, err := d.cli.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, wrap("inspect image "+ref, err)
	}
	img := Image{ID: in.ID, Bytes: in.Size}
	if len(in.RepoTags) > 0 {
		img.Name = in.RepoTags[0]
	}
	return img, nil
}

// SaveImage streams an image as `docker save` does: by its name where that is still this image, so that the name
// travels too.
func (d *Docker) SaveImage(ctx context.Context, id, name string) (io.ReadCloser, error) {
	ref := d.nameOf(ctx, id, name)
	r, err := d.cli.ImageSave(ctx, []string{ref})
	if err != nil {
		return nil, wrap("save image "+ref, err)
	}
	return r, nil
}

// nameOf is the image's name where that is still this image, else its ID.
func (d *Docker) nameOf(ctx context.Context, id, name string) string {
	if in, err := d.cli.ImageInspect(ctx, name); name != "" && err == nil && in.ID == id {
		return name
	}
	return id
}

// LoadImage takes the output of `docker save`, one image.
func (d *Docker) LoadImage(ctx context.Context, tar io.Reader) (Image, error) {
	resp, err := d.cli.ImageLoad(ctx, tar, client.ImageLoadWithQuiet(true))
	if err != nil {
		return Image{}, wrap("load image", err)
	}
	defer resp.Body.Close()
	// One JSON message a line; the one that matters is "Loaded image: NAME" or "Loaded image ID: ID".
	ref := ""
	for dec := json.NewDecoder(resp.Body); ; {
		var msg struct{ Stream, Error string }
		if err := dec.Decode(&msg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Image{}, fmt.Errorf("load image: %w", err)
		}
		if msg.Error != "" {
			return Image{}, fmt.Errorf("load image: %s", msg.Error)
		}
		if _, after, ok := strings.Cut(msg.Stream, "Loaded image"); ok {
			_, ref, _ = strings.Cut(after, ": ")
			ref = strings.TrimSpace(ref)
		}
	}
	if ref == "" {
		return Image{}, errors.New("load image: the archive holds no image")
	}
	return d.Image(ctx, ref)
}

// Images lists all images of the node.
func (d *Docker) Images(ctx context.Context) ([]Image, error) {
	list, err := d.cli.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, wrap("list images", err)
	}
	var out []Image
	for _, in := range list {
		img := Image{ID: in.ID, Bytes: in.Size}
		if len(in.RepoTags) > 0 {
			img.Name = in.RepoTags[0]
		}
		out = append(out, img)
	}
	return out, nil
}

// Container is what one looks at of a container.
type Container struct {
	ID      string
	Name    string
	Image   string // ID
	Args    []string
	PID     int // in the pid namespace of dockerd; 0 when it does not run
	Running bool
	Exit    int
	Upper   string // overlay2: the writable layer
	Merged  string // overlay2: the container's root, mounted while it runs
	Replica string // label, "" for other people's containers
}

// Container inspects by name or ID. While a container's armed start waits, this blocks: inspect before arming.
func (d *Docker) Container(ctx context.Context, ref string) (Container, error) {
	in, err := d.cli.ContainerInspect(ctx, ref)
	if err != nil {
		return Container{}, wrap("inspect container "+ref, err)
	}
	return Container{
		ID: in.ID, Name: strings.TrimPrefix(in.Name, "/"), Image: in.Image, Args: in.Config.Cmd,
		PID: in.State.Pid, Running: in.State.Running, Exit: in.State.ExitCode,
		Upper: in.GraphDriver.Data["UpperDir"], Merged: in.GraphDriver.Data["MergedDir"],
		Replica: in.Config.Labels[labelReplica],
	}, nil
}

// Service says how to make the container of a replica.
type Service struct {
	Name        string // container name, also its replica label
	Image       string // ID
	ImageName   string // shown by docker ps, where it still is this image
	Holder      string // container whose network namespace it shares
	Command     []string
	Environment []string
	Binds       []string // host path:container path
	CPU         float64  // cores; 0 = no limit of its own
	Memory      int64    // bytes; 0 = no limit of its own
	PIDs        int64    // 0 = DefaultPIDs
	CRIUConfig  string   // path on the host, for checkpoint and restore of this container alone
}

// DefaultPIDs bounds the processes of a service that asks for no limit of its own.
const DefaultPIDs = 512

// CreateService makes the container without starting it. Docker never restarts it: the agent does.
func (d *Docker) CreateService(ctx context.Context, s Service) (Container, error) {
	// A quota above what the parent group or the machine has is refused by the kernel or by Docker, so the smaller
	// of both counts; at the next node it is set anew.
	cpu := min(s.CPU, d.ncpu)
	pids := s.PIDs
	if pids == 0 {
		pids = DefaultPIDs
	}
	host := &container.HostConfig{
		Runtime:       RuntimeName,
		NetworkMode:   container.NetworkMode("container:" + s.Holder),
		Binds:         s.Binds,
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Annotations:   map[string]string{"org.criu.config": s.CRIUConfig},
		Resources: container.Resources{
			CgroupParent: d.parent(),
			NanoCPUs:     int64(cpu * 1e9),
			Memory:       s.Memory,
			PidsLimit:    &pids,
		},
	}
	cfg := &container.Config{
		Image: d.nameOf(ctx, s.Image, s.ImageName), Cmd: s.Command, Env: s.Environment,
		Labels: map[string]string{labelRole: RoleService, labelReplica: s.Name},
	}
	return d.create(ctx, s.Name, cfg, host)
}

// Limit changes how many cores a container may use, running or not. 0 leaves it as it is.
func (d *Docker) Limit(ctx context.Context, ref string, cpu float64) error {
	if cpu == 0 {
		return nil
	}
	_, err := d.cli.ContainerUpdate(ctx, ref, container.UpdateConfig{
		Resources: container.Resources{NanoCPUs: int64(min(cpu, d.ncpu) * 1e9)}})
	return wrap("limit container "+ref, err)
}

// CreateHolder makes the container that owns a replica's network namespace, from PauseImage, doing nothing. Its network
// is none; the helper puts eth0 into it.
func (d *Docker) CreateHolder(ctx context.Context, name, img, replica string) (Container, error) {
	return d.create(ctx, name, &container.Config{
		Image: img, Cmd: []string{"pause"},
		Labels: map[string]string{labelRole: RoleHolder, labelReplica: replica},
	}, &container.HostConfig{
		NetworkMode:   "none",
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		Resources:     container.Resources{CgroupParent: d.parent()},
	})
}

// CreateHelper makes the privileged helper: this image, in the host's pid namespace with all capabilities, from where
// it enters the others through pid 1.
func (d *Docker) CreateHelper(ctx context.Context, name, img string, args []string, hostDir string) (Container, error) {
	return d.create(ctx, name, &container.Config{
		Image: img, Cmd: args,
		Labels: map[string]string{labelRole: RoleHelper},
	}, &container.HostConfig{
		PidMode:       "host",
		NetworkMode:   "host",
		UTSMode:       "host",
		CapAdd:        []string{"ALL"},
		SecurityOpt:   []string{"seccomp=unconfined", "apparmor=unconfined"},
		Mounts:        []mount.Mount{{Type: mount.TypeBind, Source: hostDir, Target: hostDir}},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
	})
}

func (d *Docker) create(ctx context.Context, name string, cfg *container.Config, host *container.HostConfig) (Container, error) {
	host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "2m", "max-file": "5"}}
	resp, err := d.cli.ContainerCreate(ctx, cfg, host, nil, nil, name)
	if err != nil {
		return Container{}, wrap("create container "+name, err)
	}
	return d.Container(ctx, resp.ID)
}

// Group is the cgroup of the services, without leading slash.
func (d *Docker) Group() string { return strings.TrimPrefix(d.parent(), "/") }

func (d *Docker) parent() string {
	if d.slice {
		return "netservices.slice"
	}
	return CgroupParent
}

// Start starts a container; for an armed one it blocks until the word comes.
func (d *Docker) Start(ctx context.Context, ref string) error {
	return wrap("start container "+ref, d.cli.ContainerStart(ctx, ref, container.StartOptions{}))
}

// Stop sends SIGTERM and, when grace is over, SIGKILL.
func (d *Docker) Stop(ctx context.Context, ref string, grace time.Duration) error {
	secs := int(grace.Seconds())
	return wrap("stop container "+ref, d.cli.ContainerStop(ctx, ref, container.StopOptions{Timeout: &secs}))
}

// Remove kills and removes a container; one that is not there is no error.
func (d *Docker) Remove(ctx context.Context, ref string) error {
	err := wrap("remove container "+ref, d.cli.ContainerRemove(ctx, ref, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Exec runs a command in a container and gives its exit code.
func (d *Docker) Exec(ctx context.Context, ref string, cmd []string) (int, error) {
	ex, err := d.cli.ContainerExecCreate(ctx, ref, container.ExecOptions{Cmd: cmd})
	if err != nil {
		return 0, wrap("exec in "+ref, err)
	}
	if err := d.cli.ContainerExecStart(ctx, ex.ID, container.ExecStartOptions{Detach: true}); err != nil {
		return 0, wrap("exec in "+ref, err)
	}
	for {
		in, err := d.cli.ContainerExecInspect(ctx, ex.ID)
		if err != nil {
			return 0, wrap("exec in "+ref, err)
		}
		if !in.Running {
			return in.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("exec in %s: %w", ref, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Deaths sends the names of containers of ours that ended, until ctx ends or Docker goes away.
func (d *Docker) Deaths(ctx context.Context) (<-chan string, <-chan error) {
	names := make(chan string)
	msgs, errs := d.cli.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", "container"), filters.Arg("event", "die"), filters.Arg("label", labelRole))})
	go func() {
		defer close(names)
		for {
			select {
			case m := <-msgs:
				select {
				case names <- m.Actor.Attributes["name"]:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return names, errs
}

// wrap names the operation and turns Docker's own not-found into ErrNotFound.
func wrap(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	return fmt.Errorf("%s: %w", op, err)
}
