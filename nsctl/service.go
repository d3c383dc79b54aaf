package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
	"sonic-netservices/spec"
)

func (c *cli) deploy() *cobra.Command {
	var file, node string
	cmd := &cobra.Command{
		Use:   "deploy -f FILE [--node NODE]",
		Short: "Run a service",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := readSpec(file)
			if err != nil {
				return err
			}
			manager, err := c.connect()
			if err != nil {
				return err
			}
			stream, err := manager.Deploy(cmd.Context(), &api.DeployRequest{File: file, Spec: text, Node: node})
			if err != nil {
				return err
			}
			done, err := follow(cmd.Context(), stream, c.progress)
			if err != nil {
				return err
			}
			return c.printDeployed(done)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the service's spec (YAML)")
	cmd.Flags().StringVar(&node, "node", "", "node to run it on (default: the manager chooses)")
	_ = cmd.MarkFlagRequired("file") // only fails for a flag that does not exist
	return cmd
}

// readSpec reads a spec and checks it before anybody is asked. Files that secrets name are put in: the manager reads
// nothing of this machine.
func readSpec(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, refused(fmt.Errorf("read spec: %w", err))
	}
	s, err := spec.Parse(file, text)
	if err != nil {
		return nil, refused(err)
	}
	files := false
	for name, secret := range s.Secrets {
		if secret.File == "" {
			continue
		}
		files = true
		path := secret.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
		value, err := os.ReadFile(path)
		if err != nil {
			return nil, refused(fmt.Errorf("%s: secrets.%s.file: %w", file, name, err))
		}
		if !utf8.Valid(value) || strings.ContainsRune(string(value), 0) {
			return nil, refused(fmt.Errorf("%s: secrets.%s.file: %s is no text", file, name, path))
		}
		s.Secrets[name] = spec.Secret{Value: string(value)}
	}
	if !files {
		return text, nil
	}
	return spec.Print(s)
}

// printDeployed answers as the paper's figure 7 does: node address, service address, container name, state.
func (c *cli) printDeployed(done []*api.Event) error {
	if c.json {
		instances := []instance{}
		for _, e := range done {
			instances = append(instances, instanceOf(e.Instance))
		}
		return c.printJSON(map[string]any{"instances": instances})
	}
	rows := [][]string{{"NODE", "NODE-ADDRESS", "SERVICE-ADDRESS", "CONTAINER", "STATE"}}
	for _, e := range done {
		i := instanceOf(e.Instance)
		rows = append(rows, []string{i.Node, i.NodeAddress, i.ServiceAddress, i.Container, i.State})
	}
	return c.printTable(rows)
}

func (c *cli) remove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove SERVICE",
		Short: "Stop a service and delete its volumes",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			manager, err := c.connect()
			if err != nil {
				return err
			}
			stream, err := manager.Remove(cmd.Context(), &api.RemoveRequest{Service: args[0]})
			if err != nil {
				return err
			}
			done, err := follow(cmd.Context(), stream, c.progress)
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(map[string]any{"service": args[0], "removed": len(done)})
			}
			for _, e := range done {
				fmt.Fprintf(c.stdout, "%s-%d removed from %s\n", args[0], e.Instance.GetReplica(), e.Instance.GetNode())
			}
			return nil
		},
	}
}

// serviceStatus is a service as --json shows it.
type serviceStatus struct {
	Name      string     `json:"name"`
	Image     string     `json:"image"`
	Migration string     `json:"migration"`
	Problem   string     `json:"problem"`
	Instances []instance `json:"instances"`
}

func (c *cli) services() *cobra.Command {
	return &cobra.Command{
		Use:   "services",
		Short: "List services and where they run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			manager, err := c.connect()
			if err != nil {
				return err
			}
			list, err := manager.Services(cmd.Context(), &api.Empty{})
			if err != nil {
				return err
			}
			return c.printServices(list)
		},
	}
}

func (c *cli) printServices(list *api.ServiceList) error {
	services := []serviceStatus{}
	rows := [][]string{{"SERVICE", "REPLICA", "NODE", "NODE-ADDRESS", "SERVICE-ADDRESS", "CONTAINER", "STATE", "SINCE"}}
	for _, s := range list.Services {
		status := serviceStatus{s.Name, s.Image, strings.ToLower(s.Migration.String()), s.Problem, []instance{}}
		for _, m := range s.Instances {
			i := instanceOf(m)
			status.Instances = append(status.Instances, i)
			rows = append(rows, []string{
				i.Service, strconv.Itoa(int(i.Replica)), i.Node, i.NodeAddress, i.ServiceAddress, i.Container, i.State, i.Since,
			})
		}
		services = append(services, status)
		if s.Problem != "" && !c.json {
			fmt.Fprintln(c.stderr, "nsctl:", s.Problem)
		}
	}
	if c.json {
		return c.printJSON(map[string]any{"manager": list.Manager, "epoch": list.Epoch, "services": services})
	}
	return c.printTable(rows)
}
