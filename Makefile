# `make help` lists the targets.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PREFIX  ?= /usr/local
CACHE   ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mab-tools

# The same settings for build, test and lint, so that every package is compiled once.
export CGO_ENABLED := 0
export GOFLAGS     := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)
# The program that e2e tests and benchmarks run.
export MAB_BIN     := $(CURDIR)/bin/mab

GOLANGCI := 2.15.0
LINT     := $(CACHE)/golangci-lint-$(GOLANGCI)/golangci-lint
# What is released: for Linux with a solver, for the rest without.
DIST     := amd64 arm64 riscv64
CLIENTS  := darwin-amd64 darwin-arm64 windows-amd64.exe
# Expanded by the shell, when a program is linked.
BUILDKIT = $$(go list -m -f '{{.Version}}' github.com/moby/buildkit)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X github.com/moby/buildkit/version.Version=$(BUILDKIT)

.PHONY: help build test lint fmt generate check e2e bench demo runc readers dist man always install clean
.PHONY: check-fmt check-tidy check-generate
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/mab, and bin/mab-bake, which reads bake files for it
	go build -ldflags "$(LDFLAGS)" -o bin/mab ./cmd/mab
	cd bake/module && go build -ldflags "-s -w" -o ../../bin/mab-bake .

test: build ## every test, e2e included; MAB_E2E=all fails where a tool is missing instead of skipping
	go test -count=1 -timeout=60m ./...
	cd bake/module && go test -count=1 ./...
	cd release && go test -count=1 ./...
	@echo "make test: all tests passed"

e2e: build ## the tests that run bin/mab
	go test -count=1 -timeout=60m ./e2e/...
	@echo "make e2e: all tests passed"

bench: build ## the benchmarks
	go test -run='^$$' -bench=. -timeout=60m ./...

demo: build ## build examples/hello for six platforms, push it, and run what was pushed
	go run ./examples/demo -mab bin/mab

lint: $(LINT) ## golangci-lint, go vet included
	$(LINT) run ./...
	cd bake/module && $(LINT) run ./...
	cd release && $(LINT) run ./...

fmt: ## format the code
	gofmt -s -w .

generate: ## run the generators
	go generate ./...

check: check-fmt check-tidy check-generate lint ## what must hold before a commit, but for the tests
	@echo "make check: all checks passed"

check-fmt:
	@list=$$(gofmt -s -l .); test -z "$$list" || { echo "run make fmt for:" $$list; exit 1; }

check-tidy:
	go mod tidy -diff
	cd runc/module && go mod tidy -diff
	cd bake/module && go mod tidy -diff
	cd release && go mod tidy -diff

# What git sees must be the same before and after, be it committed or not.
SNAPSHOT = { git diff; git ls-files -z --others --exclude-standard | xargs -0r sha256sum; } | sha256sum
check-generate:
	@before=$$($(SNAPSHOT)) && $(MAKE) --no-print-directory generate && after=$$($(SNAPSHOT)) && \
	test "$$before" = "$$after" || { echo "generated files were stale: keep what make generate has just made"; exit 1; }

runc: $(DIST:%=runc/carried/%.zst) ## the runc that releases carry, for each of their architectures; needs Debian's cross compilers

runc/carried/%.zst: runc/module/make.sh runc/module/go.mod
	runc/module/make.sh $*

READER := $(wildcard bake/module/*.go bake/flat/*.go bake/carry/*.go) bake/module/go.mod bake/module/go.sum
READERS = $(patsubst %,bake/carried/%.zst,$(DIST:%=linux-%) $(basename $(CLIENTS)))
readers: $(READERS) ## the program that reads bake files, as releases carry it, for each of their systems

$(READERS): bake/carried/%.zst: $(READER)
	cd bake/module && GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) go build -ldflags "-s -w" -o ../carried/$*.program .
	go run ./bake/carry bake/carried/$*.program $@ && rm bake/carried/$*.program

dist: $(DIST:%=dist/mab-linux-%) $(CLIENTS:%=dist/mab-%) ## the files of a release: programs, licences, bill of materials, checksums
	cd release && SOURCE_DATE_EPOCH=$(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct)) go run . -version $(VERSION)
	cd dist && sha256sum $(^F) LICENSES libseccomp-*.tar.gz sbom.cdx.json > sha256sums

# Go knows better than make what is out of date.
dist/mab-linux-%: runc/carried/%.zst bake/carried/linux-%.zst always
	GOOS=linux GOARCH=$* go build -tags mab_runc,mab_bake -ldflags "$(LDFLAGS)" -o $@ ./cmd/mab

$(foreach client,$(CLIENTS),$(eval dist/mab-$(client): bake/carried/$(basename $(client)).zst))
$(CLIENTS:%=dist/mab-%): dist/mab-%: always
	@echo "$@"
	@GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$(basename $*))) go build -tags mab_bake -ldflags "$(LDFLAGS)" -o $@ ./cmd/mab

always:

man: ## man pages and completions of shells in dist/
	go run -tags reference -ldflags "$(LDFLAGS)" ./cmd/mab reference --man dist/man --completion dist/completion

SHARE = $(DESTDIR)$(PREFIX)/share
install: build man ## bin/mab and bin/mab-bake into $(PREFIX)/bin, with man pages and completions
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin bin/mab bin/mab-bake
	install -D -m 644 -t $(SHARE)/man/man1 dist/man/*.1
	install -D -m 644 dist/completion/mab.bash $(SHARE)/bash-completion/completions/mab
	install -D -m 644 dist/completion/_mab $(SHARE)/zsh/site-functions/_mab
	install -D -m 644 dist/completion/mab.fish $(SHARE)/fish/vendor_completions.d/mab.fish

clean: ## remove what make made in this directory
	rm -rf bin dist runc/carried bake/carried

$(LINT):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(GOLANGCI)
