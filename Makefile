# Names for commands; each one is also written out in the README.

.PHONY: run test bench plugins

# A Tollgate with a database, a demonstration tenant and four rules.
run:
	scripts/ensure-postgres
	cargo run

# The whole suite, on servers of its own.
test:
	scripts/ensure-postgres
	cargo test

bench:
	scripts/ensure-postgres
	cargo bench --bench backtest
	cargo bench --bench decisions
	cargo bench --bench growth
	cargo bench --bench journal
	cargo bench --bench neighbour
	cargo bench --bench rules
	cargo bench --bench start

# The shipped rules from source; needs the target wasm32-unknown-unknown.
plugins:
	scripts/build-plugins
