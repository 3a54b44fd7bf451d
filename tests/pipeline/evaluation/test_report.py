"""report.html: complete, self-contained, and rendered by a real browser (screenshots in .pintune/test-artefacts/)."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.evaluation import report
from pipeline.tatqa import target
from tests.browser import chromium, violations
from tests.conftest import ROOT

RECIPE = """
[model]
source = "tiny"
[data]
language = "en"
target = "equation"
train_contexts = 4
evaluation_contexts = 4
[training]
epochs = 3
batch_contexts = 1
learning_rate = 1e-2
warmup_steps = 1
[evaluation]
max_new_tokens = 4
"""


MADE_BY = {"IMAGE_DIGEST": f"sha256:{'1a' * 32}", "REVISION": "2b" * 20, "DIRTY": "1", "LOCK": "3c" * 32}


@pytest.fixture
def page(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a run whose tuned model has five of six answers right, and whose base model one of six."""
    from pipeline.evaluation import evaluate

    def answered(
        job: Any, model: Any, template: Any, rows: list[dict[str, Any]], name: str, cache: Any, limit: int
    ) -> dict[str, str]:
        wrong = "type: arithmetic\nequation: 1 /\nscale: <script>alert(1)</script>"
        return {row["uid"]: row["output"] if (i % 6 != 1) == (name == "tuned") else wrong for i, row in enumerate(rows)}

    monkeypatch.setattr(evaluate, "_answer", answered)
    for name, value in MADE_BY.items():
        monkeypatch.setenv(f"PINTUNE_{name}", value)
    (workplace / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    for step in ("fetch", "format", "train", "evaluate"):
        assert main([step, "--recipe", "tiny.toml"]) == 0
    return (workplace / "runs" / "tiny" / "latest" / "report.html").resolve()


class _Page(HTMLParser):
    """Counts the tags of a page, lists the URLs it would load, and checks that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        if tag not in ("meta", "line", "rect", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_complete_and_loads_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parser = _Page()
    parser.feed(text)
    assert parser.open == []
    assert parser.loads == [] and "url(" not in text and "@import" not in text
    assert "script" not in parser.tags  # the one in a model's answer is escaped
    assert "&lt;script&gt;" in text
    evaluation = json.loads((page.parent / "evaluation.json").read_text())
    for who in ("base", "tuned"):
        assert f"{100 * evaluation[who]['all']['em']:.1f} {who}" in text
    for heading in (
        "Scores",
        "By answer type and source",
        "Loss",
        "Data",
        "From wrong to right: 20",
        "From right to wrong: 4",
        "Still wrong: 0",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert parser.tags["svg"] == 4  # scores, loss, lengths of two splits
    assert text.count("<details") == 24
    assert text.count("<mark>") >= 20  # evidence in the tables
    questions = [json.loads(line) for line in (page.parent / "answers.jsonl").read_text().splitlines()]
    assert all(target.read(each["tuned"]["text"], "en", "").problem == each["tuned"]["problem"] for each in questions)


def test_the_page_says_what_made_the_adapter_and_is_named_at_the_end(
    capsys: pytest.CaptureFixture[str], page: Path
) -> None:
    text = page.read_text(encoding="utf-8")
    adapter = json.loads((page.parent / "manifest.json").read_text())["training"]["adapter_sha256"]
    for name, value in (
        ("adapter", f"sha256 {adapter}"),
        ("image", MADE_BY["IMAGE_DIGEST"]),
        ("revision", f"{MADE_BY['REVISION']}, with uncommitted changes"),
        ("lock", f"sha256 {MADE_BY['LOCK']}"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text
    assert f"{Path('runs/tiny') / page.parent.name / 'report.html'}" in capsys.readouterr().out


def test_without_an_image_the_page_says_so() -> None:
    environment = {"runner": "venv", "image_digest": None, "revision": None, "dirty": None}
    made_by = dict(report._made_by({"environment": environment, "training": {"adapter_sha256": "ab"}}))
    assert (made_by["image"], made_by["revision"]) == ("none (runner venv)", "not recorded")


def _rows(file: Path) -> list[bytes]:
    """The pixel rows of a PNG, not yet unfiltered (RFC 2083)."""
    data, at, packed, height = file.read_bytes(), 8, b"", 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            height = struct.unpack(">II", body[:8])[1]
        packed += body if kind == b"IDAT" else b""
        at += size + 12
    pixels = zlib.decompress(packed)
    wide = len(pixels) // height
    return [pixels[i * wide : (i + 1) * wide] for i in range(height)]


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    """Chromium without a window, as the beginning of a command line."""
    return [
        chromium(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]


def test_a_browser_renders_the_page(page: Path, browser: list[str]) -> None:
    screenshots = ROOT / ".pintune" / "test-artefacts"
    screenshots.mkdir(parents=True, exist_ok=True)
    for name, size in (("report.png", "1100,3000"), ("report-narrow.png", "420,3000")):
        screenshot = screenshots / name
        screenshot.unlink(missing_ok=True)
        subprocess.run(
            [*browser, f"--screenshot={screenshot}", f"--window-size={size}", page.as_uri()],
            check=True,
            capture_output=True,
            timeout=120,
        )
        drawn = [row for row in _rows(screenshot) if len(set(row[1:])) > 4]
        assert len(drawn) > 1000  # text, bars and lines on most of the page
    shown = _dom(browser, page)
    assert len(re.findall("<details", shown)) == 24


def _dom(browser: list[str], page: Path, *flags: str) -> str:
    """A page's elements after its scripts have run."""
    command = [*browser, *flags, "--dump-dom", page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


MEASURE = """
<iframe src="{page}" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>
onload = () => {{
  const inside = document.querySelector("iframe").contentDocument
  inside.querySelectorAll("details").forEach(each => each.open = true)
  document.title = inside.documentElement.scrollWidth
}}
</script>
"""


@pytest.mark.parametrize("width", [420, 1100])
def test_the_page_holds_the_rules_of_axe(page: Path, width: int) -> None:
    """With every question open."""
    assert violations(page.as_uri(), width) == []


@pytest.mark.parametrize("width", [360, 420, 1100])
def test_the_page_does_not_scroll_sideways(page: Path, browser: list[str], tmp_path: Path, width: int) -> None:
    """With every question open; tables too wide for a phone scroll by themselves."""
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE.format(page=page.as_uri(), width=width))
    found = re.search(r"<title>(\d+)</title>", _dom(browser, frame, "--allow-file-access-from-files"))
    assert found and int(found.group(1)) == width
