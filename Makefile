# The two commands that do everything: `make demo` (the main job) and `make test` (all that is checked).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export CGO_ENABLED ?= 1

STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Left out: G103 (unsafe: only where a system call takes a structure), G104 (unchecked errors: staticcheck and review
# look at those; what remains are Close calls), G115 (integer conversions: bounded where they stand).
GOSEC       := go run github.com/securego/gosec/v2/cmd/gosec@v2.30.0 -exclude=G103,G104,G115
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME    ?= 100000x
TOPOLOGY    ?=
PREFIX      ?= /usr/local

.PHONY: build install man demo test lint unit fuzz bench deps peers clean

build: ## the static binary bin/x0t
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/x0t ./cmd/x0t

install: build man ## binary and manual below $(DESTDIR)$(PREFIX); the unit: x0t service install
	install -D -m 0755 bin/x0t $(DESTDIR)$(PREFIX)/bin/x0t
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 0644 out/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1

man: build ## the pages of the manual in out/man
	rm -rf out/man && bin/x0t man --dir out/man >/dev/null

deps: ## what the demo and the tests use beside Go (Debian packages), if it is missing
	@scripts/deps

demo: build deps ## a mesh of six nodes that heals a cut link, in the terminal
	bin/x0t lab demo $(TOPOLOGY)

test: deps lint unit ## all that continuous integration runs

lint: ## format, vet, staticcheck, gosec
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	$(STATICCHECK) ./...
	$(GOSEC) -quiet -exclude-dir=testdata ./...

unit: ## every test with the race detector, coverage per package, then each fuzz target $(FUZZTIME)
	@FUZZTIME=$(FUZZTIME) scripts/test

fuzz: ## each fuzz target a million times
	@scripts/fuzz 1000000x

peers: ## the programs that x0t is compared with, into a directory of their own; nothing is installed
	@scripts/peers

bench: build deps peers ## the figures of docs/performance.md; hours, most of them for failover
	@scripts/bench

soak: build deps ## campaigns of seeds, every fault kind on real maps, in the lab and in the simulator, then an hour of mixed faults under load; goes on where it stopped
	@scripts/soak

clean:
	rm -rf bin out
