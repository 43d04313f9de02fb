# What this repository can do, one word each. `make` lists them.
SHELL := /bin/bash
CARGO ?= cargo
PROVISION := target/debug/provision

.PHONY: help demo test test-real bench clean rust

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: rust ## two throw-away servers on this machine, the complete rollout on them, twice
	tests/lab/prepare.sh
	$(CARGO) build
	tests/lab/demo.sh $(PROVISION)

test: rust ## every test, those on real lab hosts included
	tests/lab/prepare.sh
	CARGO=$(CARGO) tests/run.sh

test-real: rust ## flow with the real n8n from npm: 8 minutes and 3 GB more, not part of `test`
	tests/lab/prepare.sh
	$(CARGO) test --test real -- --ignored --nocapture

bench: rust ## round trips and wall time against plain ssh, then a hundred hosts at once
	tests/lab/prepare.sh
	$(CARGO) bench

clean: ## take the lab down and remove what was built
	@if [ -x $(PROVISION) ] && [ -d lab ]; then $(PROVISION) lab down; fi
	$(CARGO) clean

rust:
	@command -v $(firstword $(CARGO)) >/dev/null || { \
	  echo 'Rust is missing; it comes from https://rustup.rs, or: apt-get install rustup && rustup default stable' >&2; exit 1; }
