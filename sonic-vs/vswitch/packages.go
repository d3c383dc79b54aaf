package vswitch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// packagesDir is where sonic-package-manager keeps its database.
const packagesDir = "/var/lib/sonic-package-manager"

// Package is one installed application extension, an entry of packages.json.
type Package struct {
	Repository  string `json:"repository"`
	Description string `json:"description"`
	Installed   bool   `json:"installed"`
	Version     string `json:"installed-version"`
	ImageID     string `json:"image-id"` // its manifest is the image's label
}

// ReadPackages reads the installed packages by name of the switch whose root is seen at root.
func ReadPackages(root string) (map[string]Package, error) {
	path := filepath.Join(root, packagesDir, "packages.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return map[string]Package{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]Package{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// WritePackages replaces packages.json.
func WritePackages(root string, all map[string]Package) error {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(root, packagesDir, "packages.json"), append(text, '\n'))
}
