# The demo in a container: docker build -t scarlet-zoo . && docker run --rm scarlet-zoo
# This image has not been built: no base image could be fetched where it was written. Its RUN lines and its command are run
# by tests/test_container.py in a fresh folder, with packages that are there already.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3.11 python3.11-venv make dataset-fashion-mnist
WORKDIR /scarlet-zoo
COPY . .
RUN python3.11 -m venv .venv
RUN make install-all
RUN .venv/bin/scarlet-zoo --version
CMD ["make", "demo"]
