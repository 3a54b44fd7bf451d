#!/bin/sh
# Runs on the host before the container is created: makes the host's environment, then the image `dev` in the flavor that
# fits this machine, and the files that are passed on to it.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/invoke ] || { python3 -m venv .venv && .venv/bin/pip install -q -e .; }
exec .venv/bin/python -m images.verbs.devcontainer
