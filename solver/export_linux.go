// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"strings"

	"github.com/moby/buildkit/exporter"
)

// steadyExporter makes an exporter whose provenance is the same each time that the same things were built. Two runs of one
// build then give one index digest, and a rebuild that changes nothing pushes nothing.
type steadyExporter struct {
	exporter.Exporter
	pusher pusher
}

func (e steadyExporter) Resolve(ctx context.Context, id int, attrs map[string]string) (exporter.ExporterInstance, error) {
	own, repositories := takeNames(attrs)
	in, err := e.Exporter.Resolve(ctx, id, own)
	if err != nil {
		return nil, err
	}
	if len(repositories) > 0 {
		if in, err = e.pusher.named(in, repositories, attrs); err != nil {
			return nil, err
		}
	}
	return steadyInstance{in}, nil
}

type steadyInstance struct{ exporter.ExporterInstance }

func (i steadyInstance) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (map[string]string, exporter.FinalizeFunc, exporter.DescriptorReference, error) {
	steady, err := steadySource(src)
	if err != nil {
		return nil, nil, nil, err
	}
	return i.ExporterInstance.Export(ctx, steady, info)
}

// steadySource returns a copy of src: other exporters of the same build share the original.
func steadySource(src *exporter.Source) (*exporter.Source, error) {
	out := src.Clone()
	accounts, err := takeAccounts(out.Metadata)
	if err != nil {
		return nil, err
	}
	for platform, list := range src.Attestations {
		kept := make([]exporter.Attestation, 0, len(list))
		for _, att := range list {
			content := att.ContentFunc
			if content != nil && strings.HasPrefix(att.InToto.PredicateType, "https://slsa.dev/provenance/") {
				att.ContentFunc = func(ctx context.Context) ([]byte, error) {
					predicate, err := content(ctx)
					if err != nil {
						return nil, err
					}
					return steadyProvenance(predicate, platform, accounts[platform])
				}
			}
			kept = append(kept, att)
		}
		out.Attestations[platform] = kept
	}
	return out, nil
}
