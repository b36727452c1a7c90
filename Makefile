# The fixed commands of this project. `make` alone explains them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
CARGO := cargo
DATA ?= target/trial
LAB ?= /tmp/bricklayer-lab
CLUSTER ?= /tmp/bricklayer-cluster
NODES ?= 0
# Programs that --all-targets leaves out, since `cargo test` does not run them. It leaves them out of a command that names them, too.
BY_NAME := --test kubernetes --test charts --test csi --test real --test cluster

.PHONY: help build run test test-long test-real check advisories generate images bench bench-allocation bench-real bench-kubernetes lab-up lab-down \
  cluster-up cluster-down

help: ## Explain the commands (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build target/release/bricklayer
	$(CARGO) build --release --locked

run: build ## Try it: one server with simulated nodes on 127.0.0.1:8080 (DATA=directory)
	@printf '%s\n' '' 'Try in another terminal:' \
	  '  target/release/bricklayer topology load --json examples/topology.json' \
	  '  target/release/bricklayer volume create --size 100' \
	  '  target/release/bricklayer volume list' ''
	@exec target/release/bricklayer serve --simulated --listen 127.0.0.1:8080 --data $(DATA)

test: ## Run every test that needs no root; sets itself up
	@tests/setup
	@# Most of these tests wait; the control plane is built meanwhile.
	tests/together '$(CARGO) test --locked' 'tests/kube/build'
	tests/kube/with env BRICKLAYER_TEST_REAL=1 bash -c 'BRICKLAYER_TEST_KUBECONFIG=$$KUBECONFIG $(CARGO) test --locked --test api_service'
	$(CARGO) test --locked --test kubernetes
	$(CARGO) test --locked --test charts
	$(CARGO) test --locked --test csi
	tests/heketi/clients/run

test-long: ## Run the tests that gain by repetition, with more rounds or for longer (the last one: root)
	@tests/setup
	BRICKLAYER_TEST_PAIRS=1 $(CARGO) test --locked --test crash
	BRICKLAYER_TEST_FUZZ=200000 BRICKLAYER_TEST_SEED=$$RANDOM $(CARGO) test --locked --test heketi -- fuzz turmoil --nocapture
	BRICKLAYER_TEST_LOOPS=500 $(CARGO) test --locked --test kubernetes -- 'come and go'
	@tests/setup real
	BRICKLAYER_TEST_WRITE=300 $(CARGO) test --locked --test cluster -- 'under a writer'

test-real: ## Run the tests on real LVM, XFS and GlusterFS (root; a lab of virtual nodes); sets itself up
	@tests/setup real
	$(CARGO) build --locked --bins --test real --test cluster
	@# csi-sanity with the shorter of the two, in a lab of its own.
	tests/together '$(CARGO) test --locked --test cluster; $(CARGO) test --locked --test real -- csi-sanity' \
	  '$(CARGO) test --locked --test real'

check: ## Format, lints, documentation, dependencies, generated files
	@tests/setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked $(BY_NAME) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	tests/deny check bans licenses sources
	@$(CARGO) run --quiet --locked -- crds | diff -u crds/bricklayer.yaml - || \
	  { echo 'crds/bricklayer.yaml is stale: run `make generate`' >&2; exit 1; }
	charts/generate --check

advisories: ## Ask the advisory database about the dependencies (needs the network)
	tests/deny check advisories

generate: ## Write crds/ again from the code, and deploy/ and the chart of the kinds from theirs
	@mkdir -p target
	$(CARGO) run --quiet --locked -- crds >target/crds.yaml
	mv target/crds.yaml crds/bricklayer.yaml
	charts/generate

images: build ## Write container images to target/images, without docker (all but the operator's: root, Debian)
	images/operator target/images/bricklayer.tar target/release/bricklayer
	images/node/build target/images/bricklayer-node.tar target/release/bricklayer
	images/gluster-server/build target/images/gluster-server.tar

bench: ## Measure, and write docs/benchmarks.md and target/bench/ (HEKETI_BINARY=path: Heketi too)
	tests/bench/run

bench-real: ## Measure volumes on real nodes, and pods that mount them (root)
	tests/bench/run real pods

bench-allocation: ## Measure the allocator: how full a cluster gets, and how long a decision takes
	tests/bench/run allocation

bench-kubernetes: ## Measure claims on a control plane, beside the real external-provisioner
	tests/bench/run kubernetes

lab-up: ## Start a lab of real storage nodes in LAB (root)
	@tests/setup real
	tests/lab/up $(LAB)

lab-down: ## End the lab in LAB and remove it
	tests/lab/down $(LAB)

cluster-up: ## Start a whole Kubernetes in CLUSTER, with NODES=3 real storage nodes too (root)
	@tests/setup real
	$(CARGO) build --locked
	@tests/cluster/up $(CLUSTER) NODES=$(NODES)

cluster-down: ## End the cluster in CLUSTER and remove it (root)
	tests/cluster/down $(CLUSTER)
