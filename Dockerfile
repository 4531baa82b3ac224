# Builds Tollgate and runs it as an unprivileged user. It needs a database:
#   docker run -p 8000:8000 -v tollgate:/var/lib/tollgate \
#     -e ROCKET_DATABASES='{main={url="postgres://tollgate@database/tollgate"}}' tollgate

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
COPY src src
COPY benches benches
COPY migrations migrations
COPY static static
COPY docs/problems.md docs/problems.md
COPY plugins/wit plugins/wit
RUN cargo build --profile dist --features jemalloc --locked --bin tollgate

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/tollgate --create-home tollgate
COPY --from=build /build/target/dist/tollgate /usr/local/bin/tollgate
COPY Rocket.toml /etc/tollgate/Rocket.toml
COPY plugins/amount-limits/amount-limits.wasm plugins/account-check/account-check.wasm \
     plugins/party-lists/party-lists.wasm plugins/velocity/velocity.wasm plugins/new-payee/new-payee.wasm \
     plugins/unusual-amount/unusual-amount.wasm plugins/structuring/structuring.wasm \
     plugins/duplicate-payment/duplicate-payment.wasm plugins/name-screening/name-screening.wasm \
     /usr/share/tollgate/plugins/
ENV ROCKET_PROFILE=release \
    ROCKET_CONFIG=/etc/tollgate/Rocket.toml \
    ROCKET_TOLLGATE_DATA_DIR=/var/lib/tollgate \
    ROCKET_TOLLGATE_PLUGINS_DIR=/usr/share/tollgate/plugins
USER tollgate
VOLUME /var/lib/tollgate
EXPOSE 8000
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["tollgate"]
CMD ["serve"]
