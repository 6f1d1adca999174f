# syntax=docker/dockerfile:1
# Kalends in a container: docker build -t kalends . && docker run -p 8008:8008 -v kalends:/data kalends
# Accounts: docker exec -it CONTAINER kalends user add anna
FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock askama.toml ./
COPY src ./src
# These targets are named in Cargo.toml, so the files must be there; they are not built.
COPY webdav-tests/main.rs ./webdav-tests/main.rs
COPY webdav-tests/bench/hyper.rs ./webdav-tests/bench/hyper.rs
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin kalends && cp target/release/kalends /kalends

FROM debian:bookworm-slim
RUN useradd --system --uid 8008 --home-dir /data --shell /usr/sbin/nologin kalends \
    && install -d -o kalends -g kalends -m 700 /data
COPY --from=build /kalends /usr/local/bin/kalends
USER kalends
WORKDIR /data
VOLUME /data
EXPOSE 8008
# Within the container every address is the container's own; what is published is docker's -p.
ENV KALENDS_SERVER__LISTEN=0.0.0.0:8008 KALENDS_STORE__URL=sled:/data/db
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/kalends"]
CMD ["serve"]
