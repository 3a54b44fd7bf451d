"""The command line of the steps: a subparser for each, which takes only the flags of its own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from pipeline.steps import STEPS


def parser(description: str, helps: Mapping[str, str]) -> argparse.ArgumentParser:
    """The parser of `python -m pipeline`.

    Args:
        helps: what each step does, in a line.
    """
    made = argparse.ArgumentParser(
        prog="python -m pipeline", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = made.add_subparsers(dest="step", required=True, metavar="STEP")
    parsers = {}
    for name, step in STEPS.items():
        added = parsers[name] = subparsers.add_parser(
            name, help=helps[name], description=helps[name], allow_abbrev=False
        )
        if step.recipe:
            added.add_argument(
                "--recipe", default="quickstart", help="a shipped recipe's name, or a path ending in .toml"
            )
            added.add_argument(
                "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one recipe key"
            )
        if step.run:
            added.add_argument("--run", default="", help="RECIPE/ID of a run; its recipe is taken")
        if step.parallel:
            added.add_argument("--nodes", type=_positive, default=1, help="machines or containers that train together")
            added.add_argument("--processes", type=_positive, default=1, help="processes on each of them, one per GPU")
            added.add_argument("--node", type=int, default=0, help="which node this is, from 0")
            added.add_argument("--master", default="127.0.0.1:29500", help="HOST:PORT at which node 0 listens")
    parsers["train"].add_argument("--resume", action="store_true", help="resume the newest unfinished run")
    parsers["train"].add_argument(
        "--resume-or-start", action="store_true", help="resume an unfinished run of this recipe, or else start one"
    )
    parsers["export"].add_argument("--adapter", default="", help="a folder of PEFT, instead of a run's adapter")
    parsers["gguf"].add_argument(
        "--quantize", choices=("q8_0",), default="", help="write a quantized file too, 8.5 bits a weight"
    )
    parsers["push_hub"].add_argument("--repo", required=True, help="repository on the hub, as OWNER/NAME")
    asks = parsers["ask"]
    asks.add_argument("--context", type=int, default=0, help="number of the context in the evaluation split, from 0")
    asks.add_argument("--file", default="", help="a file with one context or one table, instead of --context")
    asks.add_argument("--question", default="", help="the question; default: the context's first")
    asks.add_argument("--json", action="store_true", help="JSON for programs: an object on one line")
    asks.add_argument("--interactive", action="store_true", help="ask again and again, until quit or the input's end")
    serves = parsers["serve"]
    serves.add_argument("--model", default="", help="a Transformers folder, instead of the newest merged model")
    parsers["mcp"].add_argument("--model", default="", help="a Transformers folder, instead of the newest merged model")
    serves.add_argument("--mcp", action="store_true", help="offer the tool by the Model Context Protocol too, at /mcp")
    serves.add_argument("--host", default="127.0.0.1", help="address to listen on; another than loopback needs a key")
    serves.add_argument("--port", type=int, default=8000, help="port to listen on; 0: a free one")
    parsers["check_answers"].add_argument("--answers", required=True, help="JSON lines of uid and message")
    of_factory = parsers["llamafactory"]
    of_factory.add_argument("--from", dest="origin", default="", help="a YAML file: print it as a recipe instead")
    of_factory.add_argument("--view", action="store_true", help="load the model as the step llamaboard has laid it out")
    of_factory.add_argument("--output", default="", help="folder for its results; default: runs/llama-factory/RECIPE")
    scores = parsers["score"]
    scores.add_argument("--predictions", required=True, help="a prediction file in the authors' format")
    scores.add_argument("--gold", required=True, help="a raw file in TAT-QA's schema, with answers")
    scores.add_argument("--json", action="store_true", help="JSON for programs")
    return made


def _positive(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)
