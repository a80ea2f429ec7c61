// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// InstallConfig says what Install takes from where. The zero value takes all that DefaultImage has for other architectures than the
// host's.
type InstallConfig struct {
	// Image is a reference, oci-layout://DIR[:TAG|@DIGEST] or oci-archive://FILE[:TAG|@DIGEST]. Empty or
	// "default": DefaultImage.
	Image string
	// Handlers are those whose emulators are wanted; one that the image lacks is an error. Empty: all that the image has, but
	// for those in Except.
	Handlers []Handler
	// Except are handlers that this machine needs no emulator for. The host's own architecture is always among them.
	Except []Handler
	// Host is the platform that the emulators must be programs of; the zero value is platforms.Host().
	Host platforms.Platform
	// MaxUnpacked is how many bytes all layers together may unpack to, most of which are skipped; 0 means 2 GiB.
	MaxUnpacked int64
	// Timeout is for each run of an emulator; 0 means 20 s.
	Timeout time.Duration
}

// Installation is what Install did.
type Installation struct {
	// Image is what the user called the image, Digest that of its manifest for this machine.
	Image  string
	Digest digest.Digest
	// Bytes is how much of layers was read: nothing, if all was in the store already.
	Bytes int64
	// Emulators are those that were asked for, in the order of the handlers' table.
	Emulators []Installed
}

// String says what was taken from where, and how much was read for it.
func (i *Installation) String() string {
	names := make([]string, len(i.Emulators))
	for n, e := range i.Emulators {
		names[n] = e.Handler.Platforms[0].String()
	}
	image := i.Image
	if !strings.HasSuffix(image, "@"+i.Digest.String()) {
		image += ", manifest " + i.Digest.String()
	}
	bytes := "nothing read, they were here already"
	if i.Bytes > 0 {
		bytes = fmt.Sprintf("%d bytes read", i.Bytes)
	}
	return fmt.Sprintf("emulators for %s from %s (%s)", strings.Join(names, ", "), image, bytes)
}

// temporary begins the names of directories in which something is unpacked.
const temporary = "unpack-"

// Install puts emulators of an image into the store, without Docker. Of the image's files only emulators are unpacked, and each
// is checked before it counts: a static program of this machine, of bounded size, that tells its version and runs a tiny program of its
// guest. What is in the store already, by the digest of the image's manifest, is not read again. All that was asked for gets in or
// nothing does; what it replaces is removed. The error of an image that is no good is an *ImageError.
func (s Store) Install(ctx context.Context, cfg InstallConfig) (*Installation, error) {
	if cfg.Image == "" || cfg.Image == "default" {
		cfg.Image = DefaultImage
	}
	if cfg.Host == (platforms.Platform{}) {
		cfg.Host = platforms.Host()
	}
	if cfg.MaxUnpacked == 0 {
		cfg.MaxUnpacked = maxUnpacked
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	if _, ok := cfg.Host.ELF(); !ok {
		return nil, fmt.Errorf("installing emulators on %s: %w", cfg.Host, errors.ErrUnsupported)
	}
	img, closer, err := openImage(ctx, cfg.Image, cfg.Host)
	if err != nil {
		return nil, imageError(ctx, cfg.Image, err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	out, err := s.install(ctx, cfg, img)
	if err := errors.Join(err, s.prune(), unlock(), closer()); err != nil {
		return nil, err
	}
	return out, nil
}

func imageError(ctx context.Context, image string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &ImageError{Image: image, Err: err}
	tag, _, _ := strings.Cut(DefaultImage, "@")
	var known interface{ Hint() string }
	switch {
	case errors.As(err, &known):
		e.hint = known.Hint()
	case errors.Is(err, errHostile), errors.Is(err, errNoGood):
		e.hint = "this is no image of emulators, or somebody tampered with it; mab's default is " + DefaultImage
	case errors.Is(err, errLacks):
		e.hint = "name other architectures or another image; mab's default is " + DefaultImage
	case strings.Contains(image, "://") && errors.Is(err, fs.ErrNotExist):
		e.hint = "make a layout where there is a network: skopeo copy --all docker://" + tag + " oci:DIR"
	case strings.Contains(image, "://"):
		e.hint = "copy it anew where there is a network, or name another image; mab's default is " + DefaultImage
	default:
		e.hint = "name another image, or without a network a layout: oci-layout://DIR"
	}
	return e
}

func (s Store) install(ctx context.Context, cfg InstallConfig, img *image) (*Installation, error) {
	dir := s.image(img.digest)
	known, err := readRecord(dir)
	if err != nil {
		known = record{Image: cfg.Image, Digest: img.digest, Files: map[string]fileRecord{}}
	}
	out := &Installation{Image: cfg.Image, Digest: img.digest}
	wanted, complete := cfg.wanted(known.Has), err == nil
	for _, h := range wanted {
		if err == nil && !slices.Contains(known.Has, h.QEMU) {
			return nil, imageError(ctx, cfg.Image, known.lacks(h))
		}
		complete = complete && known.intact(dir, h)
	}
	if !complete {
		if known, wanted, err = s.unpack(ctx, cfg, img, out); err != nil {
			return nil, err
		}
	}
	known.Image = cfg.Image
	if len(wanted) == 0 {
		return nil, imageError(ctx, cfg.Image, known.none())
	}
	if err := known.write(dir); err != nil {
		return nil, fmt.Errorf("installing emulators: %w", err)
	}
	for _, h := range wanted {
		path := filepath.Join(dir, "qemu-"+h.QEMU)
		if err := s.activate(h, path); err != nil {
			return nil, fmt.Errorf("installing emulators: %w", err)
		}
		out.Emulators = append(out.Emulators, Installed{
			Emulator: Emulator{Handler: h, Path: s.lookup(h)}, Link: s.Link(h),
			Image: cfg.Image, Digest: img.digest, Version: known.Files[h.QEMU].Version,
		})
	}
	return out, nil
}

// wanted returns the handlers that are asked for, of an image that has these.
func (cfg InstallConfig) wanted(has []string) []Handler {
	var out []Handler
	for _, h := range handlers {
		if len(cfg.Handlers) > 0 && containsHandler(cfg.Handlers, h) || len(cfg.Handlers) == 0 && cfg.lacks(h) && slices.Contains(has, h.QEMU) {
			out = append(out, h)
		}
	}
	return out
}

// lacks reports whether this machine cannot do without an emulator for h.
func (cfg InstallConfig) lacks(h Handler) bool {
	return h.Platforms[0].Architecture != cfg.Host.Architecture && !containsHandler(cfg.Except, h)
}

func containsHandler(list []Handler, h Handler) bool {
	return slices.ContainsFunc(list, func(l Handler) bool { return l.Name == h.Name })
}

func (r record) lacks(h Handler) error {
	if len(r.Has) == 0 {
		return fmt.Errorf("%w: there are none in /%s", errLacks, imageDir)
	}
	return fmt.Errorf("%w: qemu-%s is not among %s", errLacks, h.QEMU, strings.Join(r.Has, " "))
}

func (r record) none() error {
	if len(r.Has) == 0 {
		return r.lacks(Handler{})
	}
	return fmt.Errorf("%w: this machine needs none of %s", errLacks, strings.Join(r.Has, " "))
}

var (
	errLacks  = errors.New("it lacks emulators")
	errNoGood = errors.New("is no good")
)

// intact reports whether dir has h's emulator as it was once checked.
func (r record) intact(dir string, h Handler) bool {
	file, err := os.Open(filepath.Join(dir, "qemu-"+h.QEMU))
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }() // Only read from.
	got, err := digest.FromReader(file)
	return err == nil && got == r.Files[h.QEMU].Digest
}

// unpack reads the image's layers, checks what was asked for, and moves it into the store, where no link names it yet.
func (s Store) unpack(ctx context.Context, cfg InstallConfig, img *image, out *Installation) (record, []Handler, error) {
	temp, err := os.MkdirTemp(s.Dir, temporary)
	if err != nil {
		return record{}, nil, fmt.Errorf("installing emulators: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }() // What stays, the next install removes.
	x := &extraction{dir: temp, files: map[string]string{}, most: cfg.MaxUnpacked, wanted: func(h Handler) bool {
		return len(cfg.Handlers) == 0 && cfg.lacks(h) || containsHandler(cfg.Handlers, h)
	}}
	for _, l := range img.layers {
		if err := x.layer(ctx, img, l); err != nil {
			return record{}, nil, imageError(ctx, cfg.Image, err)
		}
	}
	out.Bytes = x.packed
	r := record{Image: cfg.Image, Digest: img.digest, Files: map[string]fileRecord{}}
	files := x.emulators(&r)
	wanted := cfg.wanted(r.Has)
	for _, h := range wanted {
		if !slices.Contains(r.Has, h.QEMU) {
			return record{}, nil, imageError(ctx, cfg.Image, r.lacks(h))
		}
		version, err := cfg.check(ctx, h, files[h.QEMU])
		if err != nil {
			return record{}, nil, imageError(ctx, cfg.Image, fmt.Errorf("its qemu-%s %w: %w", h.QEMU, errNoGood, err))
		}
		sum, err := fileDigest(files[h.QEMU])
		if err != nil {
			return record{}, nil, fmt.Errorf("installing emulators: %w", err)
		}
		r.Files[h.QEMU] = fileRecord{sum, version}
	}
	if err := s.move(wanted, files, &r); err != nil {
		return record{}, nil, fmt.Errorf("installing emulators: %w", err)
	}
	return r, wanted, nil
}

// emulators picks of each handler's files the one whose name is best, and writes down what there is.
func (x *extraction) emulators(r *record) map[string]string {
	out := map[string]string{}
	for _, h := range handlers {
		for _, name := range emulatorNames {
			file, ok := x.files[fmt.Sprintf(name, h.QEMU)]
			if _, better := out[h.QEMU]; ok && !better {
				out[h.QEMU] = file
				r.Has = append(r.Has, h.QEMU)
			}
		}
	}
	return out
}

// move puts checked files where the store has them, beside those of an earlier install from the same image.
func (s Store) move(wanted []Handler, files map[string]string, r *record) error {
	dir := s.image(r.Digest)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if earlier, err := readRecord(dir); err == nil {
		for name, f := range earlier.Files {
			if _, now := r.Files[name]; !now {
				r.Files[name] = f
			}
		}
	}
	for _, h := range wanted {
		if err := os.Rename(files[h.QEMU], filepath.Join(dir, "qemu-"+h.QEMU)); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// check finds out that a file is an emulator of h by having it emulate, and returns QEMU's version.
func (cfg InstallConfig) check(ctx context.Context, h Handler, file string) (string, error) {
	host, _ := cfg.Host.ELF()
	reason, err := refuse(file, host)
	if err != nil {
		return "", err
	}
	if reason != "" {
		return "", errors.New(reason)
	}
	running, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	version, err := QEMUVersion(running, file)
	if err != nil {
		return "", err
	}
	return version, ProbeUnder(running, file, h.Platforms[0], filepath.Dir(file))
}

func fileDigest(path string) (digest.Digest, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // Only read from.
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return digest.NewDigest(digest.SHA256, sum), nil
}

// syncDir has the disk keep the names in a directory.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
