# Short names for commands. The README has the commands themselves.

.PHONY: run test bench bench-peers plugins check-deploy image-check

# Starts Tollgate with a database, a demonstration tenant and four rules.
run:
	scripts/ensure-postgres
	cargo run

# Runs all tests. They start their own servers.
test:
	scripts/ensure-postgres
	scripts/ensure-test-tools
	cargo test --features jemalloc --no-fail-fast

bench:
	scripts/ensure-postgres
	cargo bench --features jemalloc --bench backtest
	cargo bench --features jemalloc --bench decisions
	cargo bench --features jemalloc --bench growth
	cargo bench --features jemalloc --bench journal
	cargo bench --features jemalloc --bench neighbour
	cargo bench --features jemalloc --bench rules
	cargo bench --features jemalloc --bench similar_names
	cargo bench --features jemalloc --bench start

# Compares decisions with a payment service written by hand, and a small rule in
# Tollgate and in other rule engines, which take long to compile. Needs the target
# wasm32-unknown-unknown.
bench-peers:
	scripts/ensure-postgres
	cargo bench --features jemalloc --bench decisions -- --peers
	cargo bench --locked --manifest-path benches/peers/Cargo.toml

# Builds the shipped rules. Needs the target wasm32-unknown-unknown.
plugins:
	scripts/build-plugins

# Checks the files for operators in deploy/ and the Dockerfile.
check-deploy:
	scripts/check-deploy

# Builds the files of the container image and runs them as a container engine would.
# Needs the target x86_64-unknown-linux-musl, musl-gcc and, for the mounts, root.
image-check:
	scripts/image-root target/image
	scripts/check-image target/image
