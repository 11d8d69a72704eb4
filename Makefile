# `make help` lists the targets.
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX    ?= /usr/local
GO        ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0

# The peers of make bench, and tcpdump, which takes the truth.
BENCH_PACKAGES = iputils-ping fping hping3 nmap iputils-arping python3-scapy tcpdump

# The race detector needs a C compiler, which nothing else here does.
CC_FOUND  := $(shell command -v $$($(GO) env CC 2>/dev/null) 2>/dev/null)
RACE      ?= $(if $(CC_FOUND),-race)

.PHONY: help build demo test test-kernels interop lint generate bench bench-peers install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/l2ping, static
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/l2ping ./cmd/l2ping

demo: build ## see it all in a private network; touches no other
	bin/l2ping demo

test: ## all tests; as root also those of eBPF and capabilities
	$(GO) test $(RACE) ./...

test-kernels: ## in Debian's 6.1 and 6.12 under emulation (apt-get install qemu-system-x86 xz-utils)
	cd internal/kernels && $(GO) test -tags kernels -count=1 -timeout 20m $(KERNELFLAGS)

interop: ## against ping, arping, ndisc6, tshark, scapy, jc and HdrHistogram (.ci/run has their packages)
	$(GO) test -tags interop -count=1 ./internal/interop/ ./cmd/l2ping/internal/craft/

bench: bench-peers ## measure accuracy beside its peers (root: installs them), and time the hot path
	$(GO) run ./internal/bench $(BENCHFLAGS)
	$(GO) test -run '^$$' -bench . -benchmem ./l2/... ./bpf ./probe

# Nothing is removed for a peer's sake: what cannot be installed is left out.
bench-peers:
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || exit 0; \
	missing=; for p in $(BENCH_PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q ' installed$$' || missing="$$missing $$p"; \
	done; \
	test -z "$$missing" && exit 0; \
	apt-get update -qq || true; \
	for p in $$missing; do \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove $$p || \
			echo "bench: $$p is not installed" >&2; \
	done

lint: ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not gofmt-ed: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags interop ./internal/interop/ ./cmd/l2ping/internal/craft/
	$(GO) vet -tags kernels ./internal/kernels/
	cd internal/bench/probing && $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

generate: ## compile the BPF C anew (apt-get install clang-14 llvm-14 libbpf-dev)
	$(GO) generate ./...

install: ## into $(PREFIX)/bin, with the capabilities that it needs
	@test -x bin/l2ping || $(MAKE) build
	install -D -m 755 bin/l2ping $(DESTDIR)$(PREFIX)/bin/l2ping
	setcap cap_net_raw,cap_bpf+ep $(DESTDIR)$(PREFIX)/bin/l2ping

clean: ## remove what was built
	rm -rf bin
