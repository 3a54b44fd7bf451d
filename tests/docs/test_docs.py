"""The documentation: its commands, recipe keys, links and anchors exist, its lines are short, nothing is left out.

A command is checked with invoke's own parser against the verbs of tasks.py; nothing is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program

import tasks
from pipeline import recipe as recipes

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / ".github" / "pull_request_template.md",
    *PAGES,
]
COLUMNS, README_WORDS = 120, 1000
CARRIED = ("recipe", "flavor", "runner")  # flags that hold for the verbs after the one that has them

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def split(text: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Lines of prose and lines of fenced code blocks, each with its number from 1."""
    prose: list[tuple[int, str]] = []
    code: list[tuple[int, str]] = []
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        else:
            (code if fenced else prose).append((number, line))
    return prose, code


def inline_code(text: str) -> list[str]:
    """What stands between single backquotes; it may go over the end of a line, not of a paragraph."""
    prose = "\n".join(line for _, line in split(text)[0])
    return [" ".join(code.split()) for part in prose.split("\n\n") for code in re.findall(r"`([^`]+)`", part)]


def commands(text: str) -> Iterator[list[str]]:
    """The words after `invoke` of every call in code blocks and inline code."""
    block = "\n".join(line for _, line in split(text)[1]).replace("\\\n", " ")
    for line in [*block.splitlines(), *inline_code(text)]:
        if re.search(r"\binvoke\s", line):
            yield from calls(line)


def calls(line: str) -> Iterator[list[str]]:
    """The calls of invoke in a line of shell, without environment, path and comment, split at `&&`, `;` and `|`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in ("&&", "||", ";", "|", "&"):
            words.append(word)
            continue
        while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]):
            words.pop(0)
        if words and Path(words[0]).name == "invoke":
            yield words[1:]
        words = []


def parsed(words: list[str]) -> list[ParserContext]:
    """The verbs of a call, with their flags.

    Raises:
        invoke.exceptions.ParseError: there is no such verb or flag, or a value is missing.
    """
    _, *verbs = Parser(initial=Program().initial_context, contexts=tasks.ns.to_contexts()).parse_argv(words)
    return verbs


def recipe_keys() -> set[str]:
    values = recipes.as_values(recipes.load("quickstart"))
    return {f"{section}.{key}" for section, body in values.items() for key in body}


def slugs(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = [line.lstrip("# ") for _, line in split(path.read_text(encoding="utf-8"))[0] if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text: str) -> list[str]:
    """Targets of links and images, in Markdown and in HTML."""
    prose = "\n".join(re.sub(r"`[^`]*`", "code", line) for _, line in split(text)[0])
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|srcset|href)="([^"]+)"', prose)


@every_document
def test_every_command_names_verbs_and_flags_that_exist(document: Path) -> None:
    for words in commands(document.read_text(encoding="utf-8")):
        parsed(words)


@every_document
def test_a_flag_that_holds_for_later_verbs_is_given_to_the_first_that_takes_it(document: Path) -> None:
    for words in commands(document.read_text(encoding="utf-8")):
        for flag in CARRIED:
            given = [verb.as_kwargs[flag] for verb in parsed(words) if flag in verb.as_kwargs]
            assert not any(given[1:]) or given[0], f"--{flag} comes too late in: invoke {shlex.join(words)}"


@every_document
def test_every_recipe_key_exists_and_takes_the_value(document: Path) -> None:
    text, known = document.read_text(encoding="utf-8"), recipe_keys()
    for words in commands(text):
        verbs = parsed(words)
        overrides = [each for verb in verbs for each in verb.as_kwargs.get("set_", ())]
        named = next((verb.as_kwargs["recipe"] for verb in verbs if verb.as_kwargs.get("recipe")), "quickstart")
        assert {each.partition("=")[0] for each in overrides} <= known, f"invoke {shlex.join(words)}"
        if not named.endswith(".toml") and "sweep" not in words:  # a sweep lists several values
            recipes.load("quickstart" if named.isupper() else named, overrides)
    sections = "|".join({key.partition(".")[0] for key in known})
    for code in inline_code(text):
        if found := re.fullmatch(rf"(?:--set )?((?:{sections})\.\w+)(?:=.*)?", code):
            assert found[1] in known or found[1].endswith((".json", ".html")), code


@every_document
def test_every_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for link in links(document.read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.is_file(), link
        assert document not in PAGES or target.is_relative_to(ROOT / "docs"), f"{link}: the site has only docs/"
        assert not anchor or anchor in slugs(target), link


@every_document
def test_no_line_of_prose_is_too_long(document: Path) -> None:
    link_alone = re.compile(r"\s*(?:[-*] )?!?\[[^\]]*\]\([^)]*\)\.?")
    lines = [(number, line) for number, line in split(document.read_text(encoding="utf-8"))[0] if len(line) > COLUMNS]
    assert [each for each in lines if not (each[1].lstrip().startswith("|") or link_alone.fullmatch(each[1]))] == []


def test_readme_is_short_and_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= README_WORDS
    groups = {f"{name}.*" for name in tasks.ns.collections}
    alone = {name for name in tasks.ns.task_names if "." not in name}
    assert alone | groups <= set(inline_code(text))


def test_readme_has_the_two_commands() -> None:
    found = list(commands((ROOT / "README.md").read_text(encoding="utf-8")))
    assert ["build", "data", "train", "evaluate", "export", "ask"] in found
    assert ["lint", "test"] in found


def test_the_start_page_has_the_first_command_of_readme() -> None:
    starts = [
        [line for _, line in split((ROOT / name).read_text(encoding="utf-8"))[1] if "apt-get" in line]
        for name in ("README.md", "docs/index.md")
    ]
    assert starts[1] == starts[0][:1]


def test_every_page_is_in_the_navigation_and_on_the_start_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == [page.name for page in PAGES]
    assert set(listed) <= {
        "index.md",
        *(link.partition("#")[0] for link in links((ROOT / "docs/index.md").read_text())),
    }


def test_the_site_loads_nothing_from_the_network() -> None:
    """Its fonts are the system's; the theme's plugin `offline` and any address would add a script from elsewhere."""
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(r"^  font: false\b", told, re.MULTILINE)
    assert not re.search(r"https?://|^  - offline", told, re.MULTILINE)


def test_every_benchmark_is_on_its_page() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__.py", "machine.py"}
    assert {f"benchmarks/{name}" for name in scripts} <= set(inline_code(text))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("invoke build train", [["build", "train"]]),
        ("A=1 B='x y' .venv/bin/invoke lint && cd / && invoke test --slow  # why", [["lint"], ["test", "--slow"]]),
        ("echo invoke build; invoke runs | head", [["runs"]]),
    ],
)
def test_calls_are_found_in_a_line_of_shell(line: str, found: list[list[str]]) -> None:
    assert list(calls(line)) == found
