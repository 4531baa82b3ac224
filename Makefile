# Names for commands; each one is also written out in the README.

.PHONY: run test bench bench-peers plugins

# A Tollgate with a database, a demonstration tenant and four rules.
run:
	scripts/ensure-postgres
	cargo run

# The whole suite, on servers of its own.
test:
	scripts/ensure-postgres
	scripts/ensure-test-tools
	cargo test --no-fail-fast

bench:
	scripts/ensure-postgres
	cargo bench --bench backtest
	cargo bench --bench decisions
	cargo bench --bench growth
	cargo bench --bench journal
	cargo bench --bench neighbour
	cargo bench --bench rules
	cargo bench --bench start

# One small rule here and in other rule engines, which take long to compile.
# Needs the target wasm32-unknown-unknown.
bench-peers:
	cargo bench --locked --manifest-path benches/peers/Cargo.toml

# The shipped rules from source; needs the target wasm32-unknown-unknown.
plugins:
	scripts/build-plugins
