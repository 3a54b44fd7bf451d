"""The pictures in docs/workbench.md: what each verb opens, drawn by a headless Chromium.

    python -m benchmarks.pictures                   all of them, from this checkout's newest runs
    python -m benchmarks.pictures notebook          one verb's

Needs the images or environments of the verbs (`invoke build --image dev`, `--image webui`), a finished run with its
evaluation, and Chromium. Starts each verb, draws its pages and stops it. Writes docs/assets/workbench-NAME.png.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.machine import ROOT

PAGES = {  # by verb: the picture's name, and what follows the link's address
    "notebook": {"notebook": "/lab/tree/notebooks/look_at_the_data.ipynb"},
    "tensorboard": {"tensorboard": "/#timeseries", "reports": "/#reports"},
    "webui": {"webui": "/"},
}
WIDTH, HEIGHT = 1280, 860  # CSS pixels
COLOURS = 128  # of a palette: a page of text and lines needs no more, and the file is a third as large


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verbs", nargs="*", choices=[*PAGES, []], help="default: all")
    for verb in parser.parse_args().verbs or PAGES:
        started = subprocess.run(
            [sys.executable, "-m", "invoke", verb], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
        )
        (link,) = set(re.findall(r"http://\S+", started.stdout))
        try:
            for name, path in PAGES[verb].items():
                _draw(_page(link, path), ROOT / "docs" / "assets" / f"workbench-{name}.png")
        finally:
            subprocess.run([sys.executable, "-m", "invoke", "down", "--name", verb], cwd=ROOT, check=True)


def _page(link: str, path: str) -> str:
    """A page of the service that a link opens, with the link's token."""
    base, _, query = link.partition("?")
    return "/".join(base.split("/")[:3]) + path + (f"?{query}" if query else "")


def _draw(url: str, picture: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        raise SystemExit("wanted: Chromium (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options += ["--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={profile}"]
        # time passes quickly for the page while nothing is loading
        options += [f"--window-size={WIDTH},{HEIGHT}", "--virtual-time-budget=60000", f"--screenshot={picture}"]
        subprocess.run([chromium, *options, url], check=True, capture_output=True, timeout=300)
    with Image.open(picture) as drawn:
        drawn.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
