# The build: Debian's C compiler and the Rust toolchain.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src

# The dependencies are a layer of their own: it stays until a manifest or the lock file changes.
# Our crates are stubs here, every target that a manifest names included.
COPY Cargo.toml Cargo.lock ./
COPY crates/ledger/Cargo.toml crates/ledger/
COPY crates/store-sqlite/Cargo.toml crates/store-sqlite/
COPY crates/kopeck/Cargo.toml crates/kopeck/
COPY tools/checker/Cargo.toml tools/checker/
RUN for crate in ledger store-sqlite kopeck; do mkdir crates/$crate/src; done \
    && touch crates/ledger/src/lib.rs crates/store-sqlite/src/lib.rs \
    && touch crates/kopeck/src/lib.rs && echo 'fn main() {}' > crates/kopeck/src/main.rs \
    && mkdir -p crates/store-sqlite/benches crates/kopeck/tests/service crates/kopeck/tests/faults tools/checker/src \
    && touch crates/store-sqlite/benches/engine.rs crates/store-sqlite/benches/backup.rs crates/store-sqlite/benches/check.rs \
        crates/kopeck/tests/service/main.rs crates/kopeck/tests/faults/main.rs crates/kopeck/tests/faults/kopeck_planted.rs \
        tools/checker/src/lib.rs \
    && cargo build --release --locked --package kopeck

COPY crates crates
# Cargo goes by time, and the stubs were built later than the sources were written.
RUN find crates -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --package kopeck

FROM debian:bookworm-slim
# Fixed numbers, so that the owner of the data is the same whatever image is built next.
RUN groupadd --gid 10001 kopeck \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin kopeck \
    && install --directory --owner=kopeck --group=kopeck --mode=0700 /var/lib/kopeck
COPY --from=build /src/target/release/kopeck /usr/local/bin/kopeck

ENV KOPECK_LISTEN=0.0.0.0:5000 KOPECK_DATA=/var/lib/kopeck
USER 10001:10001
VOLUME /var/lib/kopeck
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["kopeck", "health"]
CMD ["kopeck"]
