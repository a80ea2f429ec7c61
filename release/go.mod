// The program that describes a release. It is a module of its own: nothing of mab imports what it needs.
module github.com/mab-build/mab/release

go 1.26.8

require (
	github.com/CycloneDX/cyclonedx-go v0.12.0
	github.com/google/go-cmp v0.7.0
	github.com/google/licensecheck v0.3.1
	github.com/klauspost/compress v1.19.2
)
