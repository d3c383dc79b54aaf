package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"

	"sonic-netservices/internal/managers"
)

// config says where the managers are, and the supernode of the overlay; either may be missing. A manager that is alive tells
// of the others.
type config struct {
	Manager     string `yaml:"manager"`      // host:port of bt-manager; of several, joined by commas
	ManagerName string `yaml:"manager_name"` // node whose name its certificate holds; as many, in the same order
	PKI         string `yaml:"pki"`          // folder of ca.crt, operator.crt (or viewer.crt) and its key; relative to the file
	NetNS       string `yaml:"netns"`        // network namespace from which the manager is reached; "" = this one

	Supernode     string `yaml:"supernode"`      // host:port of n2n-supernode's Overlay service
	SupernodeName string `yaml:"supernode_name"` // node whose name its certificate holds

	path string
}

// loadConfig reads the file named by the flag, or the first there is in the usual places.
func loadConfig(flag string) (config, error) {
	path, err := configPath(flag)
	if err != nil {
		return config{}, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return config{}, fmt.Errorf("read configuration: %w", err)
	}
	var c config
	if err := yaml.Load(text, &c, yaml.WithKnownFields()); err != nil {
		return config{}, fmt.Errorf("%s: %w", path, err)
	}
	if c.PKI == "" {
		return config{}, fmt.Errorf("%s: pki is missing", path)
	}
	c.path = path
	if !filepath.IsAbs(c.PKI) {
		c.PKI = filepath.Join(filepath.Dir(path), c.PKI)
	}
	return c, nil
}

// managers reads where the managers are.
func (c *config) managers() ([]managers.At, error) {
	if err := c.need("manager", c.Manager, c.ManagerName); err != nil {
		return nil, err
	}
	list, err := managers.Parse(c.ManagerName, c.Manager)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.path, err)
	}
	return list, nil
}

// need refuses a file that does not say where a program is, and whose its certificate.
func (c *config) need(program, addr, name string) error {
	for field, value := range map[string]string{program: addr, program + "_name": name} {
		if value == "" {
			return fmt.Errorf("%s: %s is missing", c.path, field)
		}
	}
	return nil
}

func configPath(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if path := os.Getenv("NSCTL_CONFIG"); path != "" {
		return path, nil
	}
	places := []string{"out/nsctl.yaml"}
	if home, err := os.UserHomeDir(); err == nil {
		places = append(places, filepath.Join(home, ".config/nsctl.yaml"))
	}
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("no configuration: give --config, or write %s with manager, manager_name and pki", places[len(places)-1])
}
