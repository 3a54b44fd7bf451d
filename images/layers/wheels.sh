#!/bin/sh
# wheels.sh LOCK: install a lock's wheels into /opt/venv, checked by hash, and compile them.
# The secrets uv.toml and certificates say where they come from; no layer contains these.
set -eu
export UV_CONFIG_FILE=/run/secrets/uv.toml UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy UV_NO_PROGRESS=1
export UV_NO_INSTALLER_METADATA=1 # uv_cache.json has the time of a wheel in a local folder: no digest would be repeated
if [ -s /run/secrets/certificates ]; then export SSL_CERT_FILE=/run/secrets/certificates; fi
[ -d /opt/venv ] || /opt/tools/bin/uv venv --quiet --python "/usr/bin/python$PYTHON" /opt/venv
/opt/tools/bin/uv pip install --quiet --python /opt/venv/bin/python --require-hashes --no-deps --only-binary :all: -r "$1"
rm -rf /opt/venv/lib/python*/site-packages/torch/test # torch's own compiled tests, 83 MB that are never run
# the libraries of torchaudio's only wheels need CUDA; without these files it is Python alone, by its own _load_lib
for site in /opt/venv/lib/python*/site-packages; do
  [ -e "$site/torch/lib/libtorch_cuda.so" ] || rm -f "$site"/torchaudio/lib/*.so
done
/opt/venv/bin/python -B "$(dirname "$0")/compile.py" /opt/venv/lib
