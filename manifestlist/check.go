// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mab-build/mab/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// parallel bounds how many documents are read, and how many blobs sent, at once.
const parallel = 6

// Check reads manifest and config of every image and verifies their digests and sizes (*DigestError), that each image is for
// a platform of want, and that its config agrees: same operating system and architecture, and no higher variant, since
// machines of the platform could not run that. It returns images in the same order with Config and Raw filled in, or all
// faults it found, joined in that order.
func Check(ctx context.Context, from Blobs, want []platforms.Platform, images []Image) ([]Image, error) {
	checked := slices.Clone(images)
	faults := make([]error, len(images))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i := range checked {
		g.Go(func() error {
			if err := check(ctx, from, want, &checked[i]); err != nil {
				faults[i] = fmt.Errorf("checking the image for %s: %w", checked[i].Platform, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the faults are in faults, all of them
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return checked, nil
}

func check(ctx context.Context, from Blobs, want []platforms.Platform, image *Image) error {
	if !slices.Contains(want, image.Platform) {
		return hintf(errors.New("it was not asked for"), "asked for were %s", list(want))
	}
	if err := validate(*image); err != nil {
		return err
	}
	raw := image.Raw
	if raw == nil {
		var err error
		if raw, err = ReadBlob(ctx, from, image.Manifest); err != nil {
			return err
		}
	} else if err := verifyBytes("the solve", raw, image.Manifest); err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := parse(raw, image.Manifest.MediaType, &m, &m.MediaType); err != nil {
		return err
	}
	config, err := ReadBlob(ctx, from, m.Config)
	if err != nil {
		return err
	}
	got, err := configPlatform(config)
	if err != nil {
		return err
	}
	if !image.Platform.Covers(got) {
		return hintf(fmt.Errorf("its config says %s", got),
			"the last stage took a base image of another platform: look for --platform in its FROM, and whether the base has %s", image.Platform)
	}
	image.Config, image.Raw = m.Config, raw
	return nil
}
