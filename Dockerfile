# Both programs. `docker build --target collector .` or `--target gateway`.
#
# BUILD_IMAGE    a Linux with Rust and a C compiler. Programs that it already holds in /out are taken
#                as they are, so that what was built elsewhere needs no compiler here.
# RUNTIME_IMAGE  a Linux of the same glibc or newer, with libgcc and the authorities of TLS in /etc/ssl
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# Changes nothing but the times of files: equal sources make equal programs.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} CARGO_INCREMENTAL=0
COPY . .
RUN test -x /out/maintenant-collector || { \
        cargo build --release --locked -p maintenant-collector -p maintenant-gateway --bins && \
        mkdir -p /out && \
        cp target/release/maintenant-collector target/release/maintenant-gateway /out/ && \
        rm -rf target; \
    }
# What a volume begins as: its owner is the user of the programs.
RUN mkdir -p /out/data /out/secrets && touch -d "@${SOURCE_DATE_EPOCH}" /out/*

FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.vendor="maintenant"
USER 65532:65532

FROM runtime AS gateway
LABEL org.opencontainers.image.title="maintenant-gateway" \
      org.opencontainers.image.description="Answers MCP clients with what collectors know"
COPY --from=build /out/maintenant-gateway /usr/local/bin/maintenant-gateway
ENV MAINTENANT_ADDR=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --retries=3 \
    CMD ["/usr/local/bin/maintenant-gateway", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/maintenant-gateway"]

FROM runtime AS collector
LABEL org.opencontainers.image.title="maintenant-collector" \
      org.opencontainers.image.description="Watches Docker, stores what it sees, serves REST"
COPY --from=build /out/maintenant-collector /usr/local/bin/maintenant-collector
COPY --from=build --chown=65532:65532 /out/data /var/lib/maintenant
COPY --from=build --chown=65532:65532 /out/secrets /run/maintenant
WORKDIR /var/lib/maintenant
ENV MAINTENANT_ADDR=0.0.0.0:8081 MAINTENANT_DB=/var/lib/maintenant/maintenant.db
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --retries=3 \
    CMD ["/usr/local/bin/maintenant-collector", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/maintenant-collector"]
