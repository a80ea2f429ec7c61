// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"

	ctdsnapshot "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	fuseoverlayfs "github.com/containerd/fuse-overlayfs-snapshotter/v2"

	"github.com/mab-build/mab/sandbox"
)

// layers is where and how a solver keeps file systems.
type layers struct {
	ctdsnapshot.Snapshotter
	// name is what containerd calls the kind, and directory the worker's own.
	name, directory string
	// limit is empty for overlayfs.
	limit Limit
}

// newLayers prefers overlayfs, then fuse-overlayfs. Without them every layer is a full copy: slow, but it works on any file system.
// What a config wants is taken untried. The caller closes it.
func newLayers(root, want string) (*layers, error) {
	out := &layers{name: "overlayfs"}
	if want != "" && want != "auto" {
		out.name = want
	} else if why := overlayutils.Supported(root); why != nil {
		var errno syscall.Errno
		if errors.As(why, &errno) {
			why = errno // the whole of it is long, and has nothing but paths of the attempt
		}
		out.name = "native"
		out.limit = Limit{
			Problem: fmt.Sprintf("%s takes no overlayfs (%v), so every layer is a full copy", root, why),
			Mend:    "put the state on another file system with --root, such as ext4, xfs or btrfs, or install fuse-overlayfs and fuse3",
		}
		if fuseoverlayfs.Supported(root) == nil {
			out.name = "fuse-overlayfs"
			out.limit.Problem = fmt.Sprintf("%s takes no overlayfs (%v), so fuse-overlayfs does it, more slowly", root, why)
			out.limit.Mend = "put the state on another file system with --root, such as ext4, xfs or btrfs"
		}
	}
	suffix, err := idsSuffix()
	if err != nil {
		return nil, err
	}
	out.directory = filepath.Join(root, "runc-"+out.name+suffix)
	dir := filepath.Join(out.directory, "snapshots")
	if err := os.MkdirAll(out.directory, 0o700); err != nil {
		return nil, err
	}
	switch out.name {
	case "overlayfs":
		out.Snapshotter, err = overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
	case "fuse-overlayfs":
		out.Snapshotter, err = fuseoverlayfs.NewSnapshotter(dir)
	default:
		out.Snapshotter, err = native.NewSnapshotter(dir)
	}
	return out, err
}

// idsSuffix tells the id maps apart under which files were written: what one map calls root's belongs to nobody in another.
func idsSuffix() (string, error) {
	if mode := sandbox.Own(); mode == sandbox.Identity || mode == sandbox.Plain {
		return "", nil
	}
	sum := crc32.NewIEEE()
	for _, name := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("reading the id maps: %w", err)
		}
		_, _ = sum.Write(text)
	}
	return fmt.Sprintf("-%08x", sum.Sum32()), nil
}
