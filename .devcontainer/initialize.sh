#!/bin/sh
# Runs on the host before the container is made: the host's own environment, then the image and what it is given.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/invoke ] || { python3 -m venv .venv && .venv/bin/pip install -q -e .; }
exec .venv/bin/python -m images.devcontainer
