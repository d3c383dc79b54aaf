package suite

import (
	"context"
	"fmt"

	"sonic-netservices/sonic-vs/images"
	"sonic-netservices/sonic-vs/testbed"
)

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
