# Builds the image of Tollgate: a static program, its rules and nothing else. It needs a database:
#   docker build -t tollgate .
#   docker run --read-only -p 8000:8000 -v tollgate:/var/lib/tollgate \
#     -e ROCKET_DATABASES='{main={url="postgres://tollgate@database/tollgate"}}' tollgate
# scripts/image-root has the list of the files, and docs/IMAGE.md explains them.

ARG RUST_IMAGE=rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /build
COPY scripts/image-root scripts/image-root
RUN scripts/image-root --requirements
# A layer of its own, which a change of the source does not build again.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN scripts/image-root --dependencies
COPY build.rs LICENSE Rocket.toml ./
COPY src src
COPY benches benches
COPY migrations migrations
COPY proto proto
COPY static static
COPY docs/problems.md docs/problems.md
COPY plugins plugins
RUN scripts/image-root /image

# `docker build --target symbols --output symbols .` gives the names of functions, for backtraces.
FROM scratch AS symbols
COPY --from=build /image/symbols /tollgate.symbols

FROM scratch
COPY --from=build /image/root/ /
COPY --from=build --chown=65534:65534 /image/state/ /var/lib/tollgate/
ENV ROCKET_PROFILE=release \
    ROCKET_CONFIG=/etc/tollgate/Rocket.toml \
    ROCKET_TOLLGATE_DATA_DIR=/var/lib/tollgate \
    ROCKET_TOLLGATE_PLUGINS_DIR=/usr/share/tollgate/plugins \
    TMPDIR=/var/lib/tollgate
USER 65534:65534
VOLUME /var/lib/tollgate
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["/tollgate", "health"]
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.title="Tollgate" \
      org.opencontainers.image.description="Payment decisions by rules that are sandboxed plugins" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/tollgate"]
CMD ["serve"]
