"""Releases with a real engine and a real registry: push, pull, and builds without network."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import oci
from tests.conftest import invoke_in, lacking
from tests.marks import Invoke

pytestmark = pytest.mark.docker

REGISTRY = "127.0.0.1:5000"


@pytest.fixture(scope="session")
def calls(committed: Path) -> Invoke:
    """Run `invoke` in the committed copy, where git ignores one file that is not committed."""
    (committed / ".git" / "info" / "exclude").write_text("ignored.txt\n")
    (committed / "pipeline" / "ignored.txt").write_text("not in the commit")
    return invoke_in(committed)


@pytest.fixture(scope="session")
def verified(calls: Invoke) -> str:
    """The output of `invoke build --verify`: two release builds without cache."""
    done = calls("build", "--verify", "--flavor", "cpu")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def registry() -> str:
    """A registry of this machine, with the base image in it."""
    try:
        urllib.request.urlopen(f"http://{REGISTRY}/v2/", timeout=10).close()
    except OSError:
        lacking(f"an image registry on {REGISTRY}")
    return REGISTRY


def test_two_release_builds_give_one_digest(verified: str, committed: Path) -> None:
    assert "verify train:cpu: the same digest twice" in verified
    archive = committed / ".pintune" / "release" / "train-cpu.tar"
    record = json.loads(archive.with_suffix(".json").read_text())
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", record["digest"])
    assert oci.digest(archive) == record["digest"] == engine.image_id("pintune/train:cpu")
    created = engine.created(os.environ.get("PINTUNE_BASE_IMAGE") or matrix.load().base.image)
    assert record["source_date_epoch"] == max(1767225600, created)  # the commit's, or the base's if that is younger
    assert "@sha256:" in record["base"]
    assert oci.compressed_size(archive) <= 480e6


def test_a_release_contains_only_files_of_the_commit(verified: str, committed: Path) -> None:
    """The checkout had a file that git ignores: see `calls`."""
    ran = subprocess.run(
        ["docker", "run", "--rm", "pintune/train:cpu", "ls", "/opt/pintune/pipeline"], capture_output=True, text=True
    )
    assert "recipe.py" in ran.stdout
    assert "ignored.txt" not in ran.stdout
    assert (committed / "pipeline" / "ignored.txt").exists()


def test_a_release_does_not_record_where_wheels_came_from(verified: str) -> None:
    """An index and a local folder give the same files; for a folder, uv would add uv_cache.json with the time."""
    torch = "ls -d /opt/venv/lib/python3.11/site-packages/torch-*.dist-info"
    look = f"{torch}; find /opt -name uv_cache.json -o -name direct_url.json"
    ran = subprocess.run(
        ["docker", "run", "--rm", "pintune/train:cpu", "sh", "-c", look], capture_output=True, text=True
    )
    assert [Path(line).name for line in ran.stdout.splitlines()] == ["torch-2.13.0+cpu.dist-info"]


def test_a_release_is_of_a_commit(calls: Invoke, committed: Path) -> None:
    extra = committed / "images" / "extra.py"
    try:
        extra.write_text("")
        done = calls("build", "--release", "--flavor", "cpu")
        assert (done.returncode, "commit them" in done.stderr) == (1, True)
    finally:
        extra.unlink()


def test_the_labels_describe_the_image(verified: str, committed: Path) -> None:
    labels = engine.client().images.get("pintune/train:cpu").labels
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=committed, capture_output=True, text=True).stdout.strip()
    assert labels["org.opencontainers.image.revision"] == head
    assert (labels["dev.pintune.torch"], labels["dev.pintune.cuda"], labels["dev.pintune.flavor"]) == (
        "2.13.0+cpu",
        "none",
        "cpu",
    )
    assert labels["org.opencontainers.image.base.digest"].startswith("sha256:")
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_bill_lists_wheels_and_debian_packages(verified: str, committed: Path) -> None:
    bill = json.loads((committed / ".pintune" / "release" / "train-cpu.cdx.json").read_text())
    listed = {part["purl"].partition("@")[0] for part in bill["components"]}
    assert {"pkg:pypi/torch", "pkg:pypi/peft", "pkg:deb/debian/python3.11", "pkg:deb/debian/libc6"} <= listed


def test_push_and_pull_by_digest(verified: str, calls: Invoke, committed: Path, registry: str) -> None:
    digest = json.loads((committed / ".pintune" / "release" / "train-cpu.json").read_text())["digest"]
    place = (
        f"{registry}/pintune-{uuid.uuid4().hex[:12]}"  # a registry outlives a test run, and a version is pushed once
    )
    pushed = calls("push", "--flavor", "cpu", "--registry", place)
    assert pushed.returncode == 0, pushed.stderr
    assert f"{place}/train:cpu-0.1.0@{digest}" in pushed.stdout
    assert json.loads((committed / "images" / "released.json").read_text())["train:cpu-0.1.0"]["digest"] == digest
    for image in ("pintune/train:cpu", f"{place}/train:cpu-0.1.0"):
        engine.client().images.remove(image, force=True)
    pulled = calls("pull", "--flavor", "cpu")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.splitlines()[-1] == f"pull   pintune/train:cpu: {digest}"
    assert engine.image_id("pintune/train:cpu") == digest


class _Tampered(http.server.BaseHTTPRequestHandler):
    """A registry that answers every request for a manifest with another one."""

    def do_GET(self) -> None:
        media_type = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": media_type, "config": {}, "layers": []}
        body = json.dumps(manifest).encode()
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    do_HEAD = do_GET

    def log_message(self, format: str, *words: object) -> None:
        pass


@pytest.fixture
def tampered() -> Iterator[str]:
    """Address of a registry that sends other bytes than requested."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tampered)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_bytes_of_another_digest_are_refused(verified: str, calls: Invoke, committed: Path, tampered: str) -> None:
    file = committed / "images" / "released.json"
    before, known = (
        file.read_text() if file.exists() else "",
        json.loads((committed / ".pintune" / "release" / "train-cpu.json").read_text()),
    )
    try:
        file.write_text(
            json.dumps(
                {"train:cpu-0.1.0": {**known, "digest": "sha256:" + "5" * 64, "registry": f"{tampered}/pintune"}}
            )
        )
        done = calls("pull", "--flavor", "cpu")
        assert done.returncode == 1
        assert "wanted: the image 127.0.0.1:" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        file.write_text(before) if before else file.unlink()


def test_an_unreachable_registry_is_reported(verified: str, calls: Invoke) -> None:
    done = calls("push", "--flavor", "cpu", "--registry", "127.0.0.1:1/pintune")
    assert (done.returncode, "wanted: a push to 127.0.0.1:1/pintune/train:cpu-0.1.0" in done.stderr) == (1, True), (
        done.stderr
    )


def test_a_base_pinned_by_digest_is_pulled(calls: Invoke, registry: str) -> None:
    manifest = urllib.request.Request(f"http://{registry}/v2/debian/manifests/bookworm-slim", method="HEAD")
    manifest.add_header(
        "Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    )
    with urllib.request.urlopen(manifest, timeout=10) as answer:
        base = f"{registry}/debian:bookworm-slim@{answer.headers['Docker-Content-Digest']}"
    done = calls("build", "--flavor", "cpu", PINTUNE_BASE_IMAGE=base)
    assert done.returncode == 0, done.stderr[-2000:]
    labels = engine.client().images.get("pintune/train:cpu").labels
    assert f"{labels['org.opencontainers.image.base.name']}@{labels['org.opencontainers.image.base.digest']}" == base


def test_a_build_without_network(calls: Invoke, committed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    carried = tmp_path_factory.mktemp("carried") / "wheelhouse"
    gathered = calls("wheelhouse", "--flavor", "cpu", "--to", str(carried))
    assert gathered.returncode == 0, gathered.stdout[-2000:] + gathered.stderr[-2000:]
    assert re.search(r"wheelhouse  \S+: \d+ wheels, \d+ Debian packages, \d+ MiB", gathered.stdout)
    nowhere = {"PIP_INDEX_URL": "https://index.invalid/simple", "HTTPS_PROXY": "http://proxy.invalid:1"}
    built = calls("build", "--flavor", "cpu", "--offline", "--wheelhouse", str(carried), **nowhere)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-3000:]
    wheel = next(carried.glob("wheels/peft-*.whl"))
    wheel.unlink()
    lacks = calls("build", "--flavor", "cpu", "--offline", "--wheelhouse", str(carried))
    assert (lacks.returncode, "none of peft==" in lacks.stderr) == (1, True), lacks.stderr
