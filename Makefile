# make up            a cluster of one node on this machine (UP_FLAGS="..." are passed on, NETNS=name runs it in that namespace)
# make test          unit, namespace and conformance tests
# make conformance   behaviour cases against the built binary, through real packets, queries and requests
# make bench         figures, as ratios against the peers found on this machine
# make soak          the long counts: hundreds of kills, millions of packets
# make lint, make fmt

CARGO   ?= cargo
PROFILE ?= release
NETNS   ?=
UP_FLAGS ?=
RUTTER   = target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/rutter

.PHONY: up test unit conformance bench soak lint fmt deps

up: deps
	$(CARGO) build --locked --profile $(PROFILE) -p rutter
ifneq ($(NETNS),)
	ip netns list | grep -qw '$(NETNS)' || { ip netns add '$(NETNS)' && ip -n '$(NETNS)' link set lo up; }
endif
	exec $(if $(NETNS),ip netns exec '$(NETNS)') $(RUTTER) up $(UP_FLAGS)

test: unit conformance

unit: deps
	$(CARGO) test --locked --workspace

conformance: deps
	$(CARGO) build --locked -p rutter
	RUTTER=target/debug/rutter conformance/run

bench: deps
	$(CARGO) build --locked --release -p rutter
	$(CARGO) bench --locked --workspace --benches
	RUTTER=target/release/rutter conformance/bench

soak: deps
	$(CARGO) build --locked --release -p rutter
	RUTTER=target/release/rutter conformance/soak

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all

deps:
	@.ci/deps
