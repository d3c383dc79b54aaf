package images

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"sonic-netservices/internal/sonicdb"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// Commands are image build, install and uninstall.
func Commands() []*cobra.Command {
	image := &cobra.Command{Use: "image", Short: "make images"}
	image.AddCommand(buildCommand())
	return []*cobra.Command{image, installCommand(), uninstallCommand()}
}

func buildCommand() *cobra.Command {
	var instance, node string
	c := &cobra.Command{
		Use:   "build [NAME...]",
		Short: "build images with a switch's own Docker engine into out/images; it is left as it was",
		RunE: func(cmd *cobra.Command, names []string) error {
			n, err := find(instance, node)
			if err != nil {
				return err
			}
			return BuildAt(cmd.Context(), n, names...)
		},
	}
	c.Flags().StringVar(&node, "node", "", "`switch` to build with (default: the last one)")
	instanceFlag(c, &instance)
	return c
}

func installCommand() *cobra.Command {
	var instance string
	var enable bool
	c := &cobra.Command{
		Use:   "install NODE TARBALL",
		Short: "install an application extension as sonic-package-manager does",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := find(instance, args[0])
			if err != nil {
				return err
			}
			return InstallAt(cmd.Context(), n, args[1], enable)
		},
	}
	c.Flags().BoolVar(&enable, "enable", false, "enable the feature, which starts it")
	instanceFlag(c, &instance)
	return c
}

func uninstallCommand() *cobra.Command {
	var instance string
	c := &cobra.Command{
		Use:   "uninstall NODE PACKAGE",
		Short: "remove a package whose feature is disabled",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := find(instance, args[0])
			if err != nil {
				return err
			}
			return With(cmd.Context(), n, func(s Switch) error { return s.Uninstall(cmd.Context(), args[1]) })
		},
	}
	instanceFlag(c, &instance)
	return c
}

func instanceFlag(c *cobra.Command, instance *string) {
	c.Flags().StringVar(instance, "instance", "", "`name` of the set of switches (default: the only one)")
}

func find(instance, node string) (testbed.Node, error) {
	t, err := testbed.Load(instance)
	if err != nil {
		return testbed.Node{}, err
	}
	if node == "" {
		node = t.Nodes[len(t.Nodes)-1].Name
	}
	return t.Node(node)
}

// BuildAt builds images of the repository in the working directory, all there are if none is named.
func BuildAt(ctx context.Context, n testbed.Node, names ...string) error {
	if len(names) == 0 {
		var err error
		if names, err = Names("."); err != nil {
			return err
		}
	}
	return With(ctx, n, func(s Switch) error {
		for _, name := range names {
			path, err := Build(ctx, s.Docker, ".", name)
			if err != nil {
				return err
			}
			fmt.Println(path)
		}
		return nil
	})
}

// InstallAt installs a tarball on a node of a test bed.
func InstallAt(ctx context.Context, n testbed.Node, tarball string, enable bool) error {
	return With(ctx, n, func(s Switch) error {
		_, err := s.Install(ctx, tarball, enable)
		return err
	})
}

// With opens the doors of a node for f.
func With(ctx context.Context, n testbed.Node, f func(Switch) error) (err error) {
	if n.Pid == 0 {
		return fmt.Errorf("node %s is dead: sonic-vs up raises it again", n.Name)
	}
	docker, err := vswitch.DockerAt(n.DockerSocket())
	if err != nil {
		return err
	}
	defer func(c *client.Client) { err = errors.Join(err, c.Close()) }(docker)
	dbs, err := sonicdb.Open(n.Path("/"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dbs.Close()) }()
	s := Switch{Root: n.Path("/"), Docker: docker}
	if s.Config, err = dbs.DB(ctx, "CONFIG_DB"); err != nil {
		return err
	}
	if s.State, err = dbs.DB(ctx, "STATE_DB"); err != nil {
		return err
	}
	return f(s)
}
