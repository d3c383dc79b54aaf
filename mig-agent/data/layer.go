package data

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// staysBehind names what Docker writes into each container's layer itself; the target has its own.
func staysBehind(p string) bool {
	switch p {
	case "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev", ".dockerenv":
		return true
	}
	return false
}

// overlayState reads what overlay notes at a folder of an upper layer: whether it hides the image's folder of that name. A folder that was renamed
// with the image's content behind it cannot be carried: its content is not in the layer.
func overlayState(fd int) (opaque bool, err error) {
	if redirect, err := xattr(fd, "trusted.overlay.redirect"); err == nil {
		return false, fmt.Errorf("a folder of the image that was renamed from %q (overlay redirect_dir) cannot be carried", redirect)
	}
	v, err := xattr(fd, "trusted.overlay.opaque")
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	return v == "y", err
}
