# drctl as a container image: `docker build -t drctl .`, then
#   docker run --init -v drctl-state:/var/lib/drctl -v /etc/drctl:/etc/drctl:ro drctl
# Debian rather than a bare root, because sources and hooks run programs (database clients, git): build FROM this image and
# add those that your plans name.

FROM rust:1.95-bookworm AS build
# The profile to build with: dist is thin LTO, one code unit, stripped.
ARG PROFILE=dist
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# The manifest names the test binary; its sources are not needed to install the program.
RUN mkdir tests && touch tests/all.rs \
 && cargo install --locked --path . --profile "$PROFILE" --root /out \
 && /out/bin/drctl --version

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/drctl --create-home --shell /usr/sbin/nologin drctl
COPY --from=build /out/bin/drctl /usr/local/bin/drctl
ENV DRCTL_STATE_DIR=/var/lib/drctl
VOLUME ["/var/lib/drctl"]
WORKDIR /var/lib/drctl
USER 10001:10001
HEALTHCHECK --interval=1m --timeout=10s --start-period=10s CMD ["drctl", "--version"]
ENTRYPOINT ["drctl"]
CMD ["serve"]
