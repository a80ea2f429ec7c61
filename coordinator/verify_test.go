// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// header is that of a 64-bit, little-endian executable for a platform.
func header(t *testing.T, p platforms.Platform) []byte {
	t.Helper()
	row, ok := p.ELF()
	if !ok {
		t.Fatalf("the programs of %s are not known", p)
	}
	out := make([]byte, 64)
	copy(out, []byte{0x7f, 'E', 'L', 'F', byte(row.Class), byte(row.Data), 1})
	binary.LittleEndian.PutUint16(out[16:], 2)
	binary.LittleEndian.PutUint16(out[18:], uint16(row.Machine))
	return out
}

// verified is what became of an image for arm64 that has a program of amd64 at /tool.
func verified(t *testing.T, edit func(*coordinator.Request, *solver.Result)) (*coordinator.Result, []string, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	r := &coordinator.Request{Outputs: outputs(t, "type=oci,tar=false,dest=layout"), Request: request("arm64")}
	d, err := coordinator.NewDelivery(r, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	store := blobs{}
	built := solved(store.imageOf(t, r.Platforms[0], "tool", header(t, platforms.MustParse("amd64"))))
	store.write(t, d.Staging)
	edit(r, built)
	result, err := d.Deliver(t.Context(), r, io.Discard, built)
	there := names(t, ".")
	for i := range there {
		if strings.HasPrefix(there[i], ".mab-staging-") {
			return result, append(there[:i:i], there[i+1:]...), err
		}
	}
	return result, there, err
}

func TestVerify(t *testing.T) {
	arm64 := platforms.MustParse("arm64")
	const wrong = "checking the result: linux/arm64 has a program that it does not run"
	for _, test := range []struct {
		rule string
		edit func(*coordinator.Request, *solver.Result)
		err  string
		// found is what the result says: "" of no check, else how many things are wrong.
		found string
	}{
		{"a program of another platform is refused", func(*coordinator.Request, *solver.Result) {}, wrong, ""},
		{"it is told", func(r *coordinator.Request, _ *solver.Result) { r.Verify = coordinator.VerifyWarn }, "", "checking the contents: one thing is wrong"},
		{"nobody looks", func(r *coordinator.Request, _ *solver.Result) { r.Verify = coordinator.VerifyOff }, "", ""},
		{"it may be there", func(r *coordinator.Request, _ *solver.Result) { r.VerifyExempt = []string{"/tool"} }, "", "none"},
		{"what the solver has found counts", func(_ *coordinator.Request, s *solver.Result) {
			s.Checked = []contents.ImageReport{{Platform: arm64, Digest: s.Index.Digest}}
		}, "", "none"},
		{"and how much it is", func(_ *coordinator.Request, s *solver.Result) {
			s.Checked = []contents.ImageReport{{Platform: arm64, Digest: s.Index.Digest, Findings: []contents.Finding{{Path: "/a"}}, MoreFindings: 2}}
		}, "checking the result: linux/arm64 has 3 programs that it does not run", ""},
		{"not what it has found in another image", func(_ *coordinator.Request, s *solver.Result) {
			s.Checked = []contents.ImageReport{{Platform: arm64, Digest: digest.FromString("another")}}
		}, wrong, ""},
		{"nor for another platform", func(_ *coordinator.Request, s *solver.Result) {
			s.Checked = []contents.ImageReport{{Platform: platforms.MustParse("amd64"), Digest: s.Index.Digest}}
		}, wrong, ""},
		{"damage is an error where programs are none", func(r *coordinator.Request, s *solver.Result) {
			r.Verify = coordinator.VerifyWarn
			s.Checked = []contents.ImageReport{{Platform: arm64, Digest: s.Index.Digest, Findings: []contents.Finding{{Found: "nothing"}}}}
		}, "checking the result: linux/arm64 is damaged", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			result, there, err := verified(t, test.edit)
			if test.err != "" {
				var refused *coordinator.RefusedError
				var inside *coordinator.ContentsError
				if err == nil || err.Error() != test.err || !errors.As(err, &refused) || !errors.As(err, &inside) || inside.Hint() == "" || len(there) > 0 {
					t.Errorf("got %v; there is %q", err, there)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			found := ""
			if result.Checked != nil {
				found = "none"
				if err := result.Checked.Err(true); err != nil {
					found = err.Error()
				}
			}
			if found != test.found || len(there) != 1 {
				t.Errorf("found %q, want %q; there is %q", found, test.found, there)
			}
		})
	}
}

func TestContentsError(t *testing.T) {
	program, damage := contents.Finding{Path: "/a"}, contents.Finding{Found: "nothing"}
	for _, test := range []struct {
		rule     string
		findings []contents.Finding
		hint     string
	}{
		{"programs", []contents.Finding{program}, "$TARGETARCH"},
		{"damage", []contents.Finding{damage}, "mab cache prune --all"},
		{"both", []contents.Finding{damage, program}, "--verify-exempt"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			e := &coordinator.ContentsError{Report: contents.Join([]contents.ImageReport{{}, {Findings: test.findings}}, nil)}
			if !strings.Contains(e.Hint(), test.hint) {
				t.Errorf("got %q", e.Hint())
			}
		})
	}
}

func TestVerification(t *testing.T) {
	var got []string
	for _, word := range []string{"strict", "warn", "off", "", "Strict"} {
		v := coordinator.VerifyWarn
		err := v.Set(word)
		got = append(got, v.String()+" "+errorText(err))
	}
	want := []string{"strict ", "warn ", "off ", `warn it is strict, warn or off, not ""`, `warn it is strict, warn or off, not "Strict"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestValidateExempt(t *testing.T) {
	err := (&coordinator.Request{VerifyExempt: []string{"["}}).Validate()
	if !isUsage(err) {
		t.Errorf("got %v", err)
	}
}
