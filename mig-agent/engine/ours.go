package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"
)

// Roles of the containers we make.
const (
	RoleService = "service"
	RoleHolder  = "holder"
	RoleHelper  = "helper"
)

// Ours lists the names of the containers of a role, running or not.
func (d *Docker) Ours(ctx context.Context, role string) ([]string, error) {
	list, err := d.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelRole+"="+role))})
	if err != nil {
		return nil, wrap("list containers", err)
	}
	var names []string
	for _, c := range list {
		names = append(names, strings.TrimPrefix(c.Names[0], "/"))
	}
	return names, nil
}

// Self is the image of the container this process runs in. Docker names a container's host by its ID.
func (d *Docker) Self(ctx context.Context) (image string, err error) {
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	c, err := d.Container(ctx, host)
	if err != nil {
		return "", fmt.Errorf("our own container: %w", err)
	}
	return c.Image, nil
}

// RunHelper runs a helper of that image to its end and removes it: what it has said, and its exit code.
func (d *Docker) RunHelper(ctx context.Context, name, img string, args []string, hostDir string) (said string, code int, err error) {
	if err := d.Remove(ctx, name); err != nil { // of a run that was cut short
		return "", 0, err
	}
	c, err := d.CreateHelper(ctx, name, img, args, hostDir)
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if rerr := d.Remove(context.WithoutCancel(ctx), c.ID); err == nil {
			err = rerr
		}
	}()
	ended, failed := d.cli.ContainerWait(ctx, c.ID, container.WaitConditionNextExit)
	if err := d.Start(ctx, c.ID); err != nil {
		return "", 0, err
	}
	select {
	case e := <-ended:
		code = int(e.StatusCode)
	case err := <-failed:
		return "", 0, wrap("wait for "+name, err)
	}
	logs, err := d.cli.ContainerLogs(ctx, c.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return "", code, wrap("read what "+name+" said", err)
	}
	defer logs.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, logs); err != nil {
		return "", code, wrap("read what "+name+" said", err)
	}
	return out.String(), code, nil
}
