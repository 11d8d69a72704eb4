# `make help` lists the targets.
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX    ?= /usr/local
GO        ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0

# The race detector needs a C compiler, which nothing else here does.
CC_FOUND  := $(shell command -v $$($(GO) env CC 2>/dev/null) 2>/dev/null)
RACE      ?= $(if $(CC_FOUND),-race)

.PHONY: help build demo test interop lint generate bench install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/l2ping, static
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/l2ping ./cmd/l2ping

demo: build ## see it all in a private network; touches no other
	bin/l2ping demo

test: ## all tests; as root also those of eBPF and capabilities
	$(GO) test $(RACE) ./...

interop: ## against ping, tshark and jc (apt-get install iputils-ping tcpdump tshark jc)
	$(GO) test -tags interop -count=1 ./internal/interop/

bench: ## measure accuracy beside ping, and time the hot path
	$(GO) run ./internal/bench
	$(GO) test -run '^$$' -bench . -benchmem ./l2/frame ./bpf ./probe

lint: ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not gofmt-ed: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags interop ./internal/interop/
	$(GO) run $(STATICCHECK) ./...

generate: ## compile the BPF C anew (apt-get install clang-14 llvm-14 libbpf-dev)
	$(GO) generate ./...

install: build ## into $(PREFIX)/bin, with the capabilities that it needs
	install -D -m 755 bin/l2ping $(DESTDIR)$(PREFIX)/bin/l2ping
	setcap cap_net_raw,cap_bpf+ep $(DESTDIR)$(PREFIX)/bin/l2ping

clean: ## remove what was built
	rm -rf bin
