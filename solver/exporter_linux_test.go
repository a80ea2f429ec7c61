// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/solver/result"

	"github.com/mab-build/mab/solver"
)

// recorder is an exporter that reads the attestations of what it exports.
type recorder struct {
	exporter.ExporterInstance
	err  error
	got  map[string][]string
	info exporter.ExportBuildInfo
	// metadata are the names of it.
	metadata []string
}

func (r *recorder) Resolve(context.Context, int, map[string]string) (exporter.ExporterInstance, error) {
	return r, r.err
}

func (r *recorder) Name() string { return "recording" }

func (r *recorder) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (map[string]string, exporter.FinalizeFunc, exporter.DescriptorReference, error) {
	r.info, r.got = info, map[string][]string{}
	r.metadata = slices.Sorted(maps.Keys(src.Metadata))
	for platform, list := range src.Attestations {
		for _, att := range list {
			if att.ContentFunc == nil {
				r.got[platform] = append(r.got[platform], "a file: "+att.Path)
				continue
			}
			text, err := att.ContentFunc(ctx)
			if err != nil {
				return nil, nil, nil, err
			}
			r.got[platform] = append(r.got[platform], string(text))
		}
	}
	return map[string]string{"answer": "yes"}, nil, nil, nil
}

func attestation(kind string, content func(context.Context) ([]byte, error)) exporter.Attestation {
	return exporter.Attestation{Path: kind, ContentFunc: content, InToto: result.InTotoAttestation{PredicateType: kind}}
}

func TestSteadyExporter(t *testing.T) {
	const fleeting = `{"runDetails":{"metadata":{"startedOn":"now"}}}`
	text := func(context.Context) ([]byte, error) { return []byte(fleeting), nil }
	steady, err := solver.SteadyProvenance([]byte(fleeting))
	if err != nil {
		t.Fatal(err)
	}
	source := &exporter.Source{Attestations: map[string][]exporter.Attestation{
		"linux/amd64": {attestation("https://slsa.dev/provenance/v1", text), attestation("https://spdx.dev/Document", text)},
		"linux/arm64": {attestation("https://slsa.dev/provenance/v0.2", text), attestation("https://slsa.dev/provenance/v1", nil)},
	}}
	r := &recorder{}
	in, err := solver.Steady(r).Resolve(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, _, _, err := in.Export(t.Context(), source, exporter.ExportBuildInfo{Ref: "b"})
	if err != nil || answer["answer"] != "yes" || r.info.Ref != "b" || in.Name() != "recording" {
		t.Errorf("error %v; answer %v, of build %q, by %s", err, answer, r.info.Ref, in.Name())
	}
	want := map[string][]string{
		"linux/amd64": {string(steady), fleeting},
		"linux/arm64": {string(steady), "a file: https://slsa.dev/provenance/v1"},
	}
	if diff := cmp.Diff(want, r.got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	// Other exporters share the source.
	got, err := source.Attestations["linux/amd64"][0].ContentFunc(t.Context())
	if err != nil || string(got) != fleeting {
		t.Errorf("error %v; the source itself was changed: %s", err, got)
	}
}

// TestExportedNames: what is pushed by digest is made under its names.
func TestExportedNames(t *testing.T) {
	for _, test := range []struct {
		rule       string
		attrs, own map[string]string
		repos      []string
	}{
		{
			"names go to who makes it, repositories to who pushes it",
			map[string]string{"name": "a/b,c/d", "push": "true", "push-by-digest": "true", "build.mab.names": "a/b:1,c/d:2", "x": "y"},
			map[string]string{"name": "a/b:1,c/d:2", "x": "y"}, []string{"a/b", "c/d"},
		},
		{
			"without names nothing changes",
			map[string]string{"name": "a/b", "push": "true", "push-by-digest": "true"},
			map[string]string{"name": "a/b", "push": "true", "push-by-digest": "true"}, nil,
		},
		{
			"what is pushed by tag has its name",
			map[string]string{"name": "a/b:1", "push": "true", "build.mab.names": "a/b:1"}, map[string]string{"name": "a/b:1", "push": "true"}, nil,
		},
	} {
		t.Run(test.rule, func(t *testing.T) {
			own, repos := solver.TakeNames(test.attrs)
			if diff := cmp.Diff(test.own, own); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff(test.repos, repos); diff != "" {
				t.Errorf("repositories: want -, got +:\n%s", diff)
			}
		})
	}
}

func TestSteadyExporterErrors(t *testing.T) {
	refusal := errors.New("no")
	if _, err := solver.Steady(&recorder{err: refusal}).Resolve(t.Context(), 0, nil); !errors.Is(err, refusal) {
		t.Errorf("resolving: %v", err)
	}
	in, err := solver.Steady(&recorder{}).Resolve(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	source := &exporter.Source{Attestations: map[string][]exporter.Attestation{"": {
		attestation("https://slsa.dev/provenance/v1", func(context.Context) ([]byte, error) { return nil, refusal }),
	}}}
	if _, _, _, err := in.Export(t.Context(), source, exporter.ExportBuildInfo{}); !errors.Is(err, refusal) {
		t.Errorf("exporting: %v", err)
	}
	if _, _, _, err := in.Export(t.Context(), &exporter.Source{}, exporter.ExportBuildInfo{}); err != nil {
		t.Errorf("exporting what has no attestation: %v", err)
	}
}

func TestExportedAccounts(t *testing.T) {
	const account = `{"node":"one","why":"it is near"}`
	const full, full02, minimal = `{"buildDefinition":{"internalParameters":{"buildConfig":{}}},"runDetails":{"metadata":{"a":1}}}`,
		`{"buildConfig":{},"metadata":{"a":1}}`, `{"buildDefinition":{},"runDetails":{"metadata":{"a":1}}}`
	for _, test := range []struct{ rule, accounts, predicate, want string }{
		{
			"the full provenance has it", `{"linux/amd64":` + account + `}`, full,
			`{"buildDefinition":{"internalParameters":{"buildConfig":{}}},"runDetails":{"metadata":{"a":1,"mab_assignment":` + account + `}}}`,
		},
		{
			"the full one of SLSA v0.2 has it", `{"linux/amd64":` + account + `}`, full02,
			`{"buildConfig":{},"metadata":{"a":1,"https://github.com/mab-build/mab@v1#assignment":` + account + `}}`,
		},
		{"the minimal one does not name nodes", `{"linux/amd64":` + account + `}`, minimal, minimal},
		{"it is of its platform alone", `{"linux/arm64":` + account + `}`, full, full},
	} {
		t.Run(test.rule, func(t *testing.T) {
			content := func(context.Context) ([]byte, error) { return []byte(test.predicate), nil }
			source := &exporter.Source{
				Metadata:     map[string][]byte{solver.AccountsKey: []byte(test.accounts), "other": nil},
				Attestations: map[string][]exporter.Attestation{"linux/amd64": {attestation("https://slsa.dev/provenance/v1", content)}},
			}
			r := &recorder{}
			in, err := solver.Steady(r).Resolve(t.Context(), 0, nil)
			if err == nil {
				_, _, _, err = in.Export(t.Context(), source, exporter.ExportBuildInfo{})
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, compact(t, []byte(r.got["linux/amd64"][0]))); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff([]string{"other"}, r.metadata); diff != "" || len(source.Metadata) != 2 {
				t.Errorf("metadata of the exporter (want -, got +):\n%s; of the source: %d", diff, len(source.Metadata))
			}
		})
	}
	in, err := solver.Steady(&recorder{}).Resolve(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	broken := &exporter.Source{Metadata: map[string][]byte{solver.AccountsKey: []byte("{")}}
	if _, _, _, err := in.Export(t.Context(), broken, exporter.ExportBuildInfo{}); err == nil {
		t.Error("accounts that cannot be read were passed over")
	}
}
