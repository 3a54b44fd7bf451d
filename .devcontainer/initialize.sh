#!/bin/sh
# Runs on the host before the container is made: the host's own environment, then the target `dev` of images/Dockerfile in the flavor that
# fits this machine, and what it is given.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/invoke ] || { python3 -m venv .venv && .venv/bin/pip install -q -e .; }
exec .venv/bin/python -m images.verbs.devcontainer
