package suite

import (
	"context"
	"fmt"

	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/testbed"
	"sonic-netservices/sonic-vs/vswitch"
)

// Add brings a further feature to a node and enables it.
func (s *Suite) Add(ctx context.Context, n testbed.Node, feature string) error {
	var tarball string
	err := images.With(ctx, s.manager(), func(sw images.Switch) (err error) {
		tarball, err = images.Build(ctx, sw.Docker, s.repo, feature)
		return err
	})
	if err == nil {
		err = ensure(ctx, n, feature, tarball, false)
	}
	if err != nil {
		return fmt.Errorf("%s: add %s: %w", n.Name, feature, err)
	}
	return nil
}

// Remove takes a feature that was added off a node; nothing happens where it is not.
func (s *Suite) Remove(ctx context.Context, n testbed.Node, feature string) error {
	return images.With(ctx, n, func(sw images.Switch) error {
		installed, err := vswitch.ReadPackages(sw.Root)
		if _, ok := installed[feature]; !ok || err != nil {
			return err
		}
		return uninstall(ctx, sw, feature)
	})
}

// Disable a feature on a node; it returns when its container has ended.
func (s *Suite) Disable(ctx context.Context, n testbed.Node, feature string) error {
	return images.With(ctx, n, func(sw images.Switch) error { return disable(ctx, sw, feature) })
}

// Enable a feature that is installed.
func (s *Suite) Enable(ctx context.Context, n testbed.Node, feature string) error {
	return images.With(ctx, n, func(sw images.Switch) error {
		return sw.Config.HSet(ctx, sw.Config.Key("FEATURE", feature), map[string]string{"state": "enabled"})
	})
}

// Upgrade replaces a feature on every node by that of another image, as a package manager does, and returns when all
// is joined again. Services go on.
func (s *Suite) Upgrade(ctx context.Context, feature, tarball string) error {
	err := s.each(func(n testbed.Node) error { return ensure(ctx, n, feature, tarball, false) })
	if err != nil {
		return fmt.Errorf("upgrade %s: %w", feature, err)
	}
	return s.await(ctx)
}
