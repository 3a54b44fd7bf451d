"""TensorBoard over all runs, with a tab that lists the runs and opens their reports.

python -m pipeline.runs.board --host=127.0.0.1 --port=6006     # in the working folder; `invoke tensorboard` starts it

TensorBoard asks nobody for a password. So only requests to this machine are answered: a page of another site cannot
reach it under a name of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tensorboard import default, program
from tensorboard.plugins import base_plugin
from werkzeug import Request, Response

from pipeline.runs import overview

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_RUNS = Path("runs")
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Reports(base_plugin.TBPlugin):  # type: ignore[misc]
    """The tab: a row for each run, and its report."""

    plugin_name = "reports"

    def is_active(self) -> bool:
        return True

    def frontend_metadata(self) -> Any:
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Runs and reports")

    def get_plugin_apps(self) -> dict[str, Wsgi]:
        return {path: _application(answer) for path, answer in _PAGES.items()}


def _application(answer: Callable[[Request], Response]) -> Wsgi:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return answer(Request(environ))(environ, start_response)

    return application


def _script(request: Request) -> Response:
    return _answer(Path(__file__).with_name("board.js").read_bytes(), "text/javascript")


def _rows(request: Request) -> Response:
    return _answer(overview.as_json(_RUNS), "application/json")


def _report(request: Request) -> Response:
    name = request.args.get("run", "")
    if name not in (run["name"] for run in overview.rows(_RUNS) if run["report"]):
        return Response(f"no report of a run {name!r}\n", 404, mimetype="text/plain")
    page = _answer((_RUNS / name / "report.html").read_bytes(), "text/html")
    page.headers["Content-Security-Policy"] = _REPORT_POLICY
    return page


_PAGES = {"/index.js": _script, "/runs": _rows, "/report": _report}


def _answer(content: bytes, kind: str) -> Response:
    return Response(content, mimetype=kind, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


def local_only(app: Wsgi) -> Wsgi:
    """An application that answers requests to this machine alone, whatever name leads to it."""

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        name = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        if name in _LOCAL:
            return app(environ, start_response)
        refused = Response(f"wanted: a request to localhost\n found: {name!r}\n", 403, mimetype="text/plain")
        return refused(environ, start_response)

    return checked


def main(words: list[str]) -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.runs.board", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=6006, help="port to listen on")
    asked = parser.parse_args(words)
    _RUNS.mkdir(exist_ok=True)
    board = program.TensorBoard(
        plugins=[*default.get_plugins(), Reports],
        server_class=lambda app, flags: program.WerkzeugServer(local_only(app), flags),
    )
    # load_fast would start a second process, the data server
    board.configure(
        ["tensorboard"], logdir=str(_RUNS), host=asked.host, port=asked.port, load_fast="false", reload_interval=5.0
    )
    return int(board.main())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
