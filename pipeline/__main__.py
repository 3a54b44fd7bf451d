"""The steps inside the container: `python -m pipeline STEP --recipe NAME --set section.key=value`.

Exit status: 0 done; 1 stopped, with the reason in four lines; 2 a wrong command line; 75 training was told to stop (SIGTERM) and has saved.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from pipeline import recipe as recipes
from pipeline import sources
from pipeline.errors import PAUSED, OwnStop, Stop

_NEXT = """next:
  invoke export ask                               merge, and ask the merged model
  invoke ask --context 3 --question "..."         ask about another context of the data
  invoke train --set training.epochs=3 evaluate   learn longer
  invoke runs                                     compare the runs"""

STEPS = (
    "missing",
    "fetch",
    "format",
    "train",
    "evaluate",
    "export",
    "ask",
    "estimate",
    "score",
    "resolve",
    "reproduce",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one step; returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        recipe = _recipe(given)
        _same_everywhere()
        _quiet(offline=given.step != "fetch")
        if (
            given.step in ("train", "reproduce")
            and given.nodes * given.processes > 1
            and "WORLD_SIZE" not in os.environ
        ):
            return _together(given, arguments)
        _steps()[given.step](recipe, given)
    except Stop as stop:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        if not _speaks(stop):
            time.sleep(2)  # the launcher ends all when one has ended, and the first is to say why
        else:
            print(f"pintune {'' if given.step == 'missing' else given.step + ' '}stopped\n{stop}", file=sys.stderr)
        if stop.status == PAUSED and (told := os.environ.get("PINTUNE_PAUSED")):
            Path(told).touch()  # so that the launcher knows
        return stop.status
    except KeyboardInterrupt:
        print(f"pintune {given.step} interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as a shell has it for SIGPIPE
    except Exception as error:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        print(f"pintune {given.step} stopped\n{_unforeseen(error, given.step)}", file=sys.stderr)
        return 1
    return 0


def _recipe(given: argparse.Namespace) -> recipes.Recipe:
    """That of --recipe, or with --run of a run's manifest; overrides on top."""
    if not given.run:
        return recipes.load(given.recipe, given.set)
    from pipeline.runs import store

    run, made = store.named(given.run)
    return recipes.resolve(run.parent.name, made["recipe"], given.set, str(run / store.MANIFEST))


def _together(given: argparse.Namespace, arguments: list[str] | None) -> int:
    from pipeline import distributed

    return distributed.start(
        given.processes, given.nodes, given.node, given.master, sys.argv[1:] if arguments is None else arguments
    )


def _speaks(stop: Stop) -> bool:
    """Whether this process prints a message: of several that stop for the same reason the first does."""
    from pipeline import distributed

    return distributed.number() == 0 or isinstance(stop, OwnStop)


def _unforeseen(error: Exception, step: str) -> Stop:
    shown = f"{type(error).__name__}: {error}".splitlines()[0]
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(
        error
    ):  # torch's, on a GPU and on a CPU
        less = "--set training.gradient_checkpointing=true, and training.row_tokens=4096 or training.batch_contexts=1"
        return Stop(
            "memory", shown[:200], f"the step {step}", less if step == "train" else "--set evaluation.batch_questions=6"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        again = "invoke train --resume" if step == "train" else "the same again"
        return Stop(
            "disk space",
            shown,
            str(error.filename or Path.cwd()),
            f"free some (old runs are under runs/), then {again}",
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Stop(
            "a file or folder that this user may write",
            shown,
            str(error.filename),
            "check its owner, as ls -l shows it",
        )
    return Stop(
        "the step to end well", shown, f"pipeline, step {step}", "set PINTUNE_DEBUG=1 to see where, and report it"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--recipe", default="quickstart", help="a shipped recipe's name, or a path ending in .toml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one recipe key"
    )
    parser.add_argument("--resume", action="store_true", help="train: go on with the newest unfinished run")
    parser.add_argument(
        "--run",
        default="",
        help="RECIPE/ID of a run: its recipe, and evaluate, export and reproduce take it instead of the newest",
    )
    parser.add_argument("--nodes", type=int, default=1, help="train: machines or containers that train together")
    parser.add_argument("--processes", type=int, default=1, help="train: processes on each of them, one a GPU")
    parser.add_argument("--node", type=int, default=0, help="train: which of them this is, from 0")
    parser.add_argument("--master", default="127.0.0.1:29500", help="train: HOST:PORT at which node 0 listens")
    parser.add_argument(
        "--context", type=int, default=0, help="ask: number of the context in the evaluation split, from 0"
    )
    parser.add_argument("--file", default="", help="ask: a JSON file with one context, instead of --context")
    parser.add_argument(
        "--predictions", default="predictions.json", help="score: a prediction file in the authors' format"
    )
    parser.add_argument("--gold", default="", help="score: a raw file in TAT-QA's schema, with answers")
    parser.add_argument("--json", action="store_true", help="score: for programs")
    parser.add_argument("--question", default="", help="ask: the question; default: the context's first")
    return parser


def _same_everywhere() -> None:
    """Before torch is imported: one set of kernels on every processor, whose wider ones round otherwise, and no cuBLAS that varies.

    AVX2 is what every x86-64 server since 2015 has. On two cores of a Zen 4 it costs the quickstart no speed that could be measured.
    """
    for name, value in (
        ("ATEN_CPU_CAPABILITY", "avx2"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("MKL_CBWR", "AVX2"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
    ):
        os.environ.setdefault(name, value)


def _quiet(offline: bool = True) -> None:
    # Before torch and transformers are imported: offline but for fetch, and no bars but ours and those of a download.
    told = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name, value in (
        told | ({"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"} if offline else {})
    ).items():
        os.environ.setdefault(name, value)
    if not sys.stdout.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # a bar that cannot go back in its line is only noise
    if os.environ.get("PINTUNE_DEBUG") != "1":
        warnings.simplefilter("ignore")


def _say(line: str) -> None:
    print(line, flush=True)


def _lacking(recipe: recipes.Recipe) -> list[str]:
    """The steps that must run before train can."""
    from pipeline.data import fetch
    from pipeline.data import format as formatting

    if fetch.missing(recipe):
        return ["fetch", "format"]
    return ["format"] if formatting.unformatted(recipe) else []


def _missing(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    """Print the steps that must run before train can, one a line."""
    if lacking := _lacking(recipe):
        print("\n".join(lacking))


def _fetch(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    from pipeline.data import fetch

    fetch.fetch(recipe, _say)


def _format(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # nothing is forked here
    from pipeline.data import format as formatting

    formatting.format_splits(recipe, _say)


def _train(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    from pipeline import distributed
    from pipeline.training.run import train

    run, manifest = train(recipe, given.resume, distributed.say)
    if distributed.number() > 0:
        return
    done = manifest["training"]
    _say(
        f"train  {done['steps']} steps in {done['seconds']:.0f} s, {done['tokens_per_second']:,.0f} tokens/s, "
        f"peak memory {done['peak_memory_bytes'] / 2**30:.1f} GiB"
    )
    _say(f"train  {run / 'adapter'}: sha256 {done['adapter_sha256']}")


def _evaluate(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    from pipeline.evaluation import evaluate

    recipe, run, manifest = _of_run(recipe, given)
    results = evaluate.evaluate(recipe, run, manifest)
    _say(f"\n{evaluate.table(results)}\n")
    _say(f"evaluate  {run / 'evaluation.json'}")
    _say(_NEXT)


def _export(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    from pipeline.export import merge

    recipe, run, manifest = _of_run(recipe, given)
    checked = merge.export(recipe, run, manifest)
    _say(
        f"export  {run / 'merged'}: {checked['dtype']}, logits within {checked['largest_logit_difference']:.4f} of base + adapter"
    )
    _say(f"export  asked from disk: {checked['question']} -> {checked['answer']} (gold: {checked['gold']})")


def _ask(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    from pipeline.serving import ask
    from pipeline.tatqa import target

    merged = ask.merged_model(recipe)
    context = ask.context_of_file(Path(given.file)) if given.file else ask.context_of_data(recipe, given.context)
    answered = ask.ask(recipe, merged, context, given.question)
    _say(f"ask    {merged}")
    if answered.left_out:
        _say(f"ask    {answered.left_out}")
    _say(answered.asked)
    if answered.text != (
        answer := target.write_answer(answered.said.answer, answered.said.scale, recipe.data.language)
    ):
        _say(answered.text)
    _say(
        f"Answer: {answer or f'none: {answered.said.problem}'}"
        + (f"   (gold: {answered.gold})" if answered.gold else "")
    )


def _score(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    import json

    from pipeline.evaluation import scoring

    scored, note = scoring.score_file(Path(given.predictions), Path(given.gold))
    if note:
        print(f"score  {note}", file=sys.stderr, flush=True)
    _say(
        json.dumps(scoring.as_json(scored), ensure_ascii=False)
        if given.json
        else scoring.table(scoring.summary(scored))
    )


def _estimate(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    import json

    from pipeline.training import memory

    _say(json.dumps(memory.estimate(recipe)))


def _resolve(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    import json

    from pipeline.runs import manifest

    lacking = _lacking(recipe)
    inputs = {} if lacking else manifest.inputs(recipe)
    _say(json.dumps({"name": recipe.name, "recipe": recipes.as_values(recipe), "missing": lacking, "inputs": inputs}))


def _reproduce(recipe: recipes.Recipe, given: argparse.Namespace) -> None:
    from pipeline import reproduce
    from pipeline.runs import store

    run, made = store.named(given.run)
    found = reproduce.reproduce(recipe, run, made, _say)
    if found is None:
        return
    _say(f"\n{reproduce.table(found)}\n")
    reproduce.need_all(found)
    _say(f"reproduce  {found['run']} has every output of {found['of']}")


def _of_run(recipe: recipes.Recipe, given: argparse.Namespace) -> tuple[recipes.Recipe, Path, dict[str, Any]]:
    """The newest run, or the one of --run, and the recipe it was trained with, overrides of this call on top."""
    from pipeline import job
    from pipeline.data import fetch
    from pipeline.data import format as formatting
    from pipeline.runs import manifest, store

    run, made = store.named(given.run) if given.run else store.latest(recipe)
    recipe = recipes.resolve(recipe.name, made["recipe"], given.set, str(run / store.MANIFEST))
    for split in sources.splits(recipe):
        fetch.check_raw(recipe, split)
    if stale := formatting.unformatted(recipe):
        raise Stop(
            "formatted data",
            f"missing, or not as format left it: {', '.join(stale)}",
            str(job.formatted(recipe)),
            f"invoke data {recipes.shaping(recipe)}",
        )
    # the adapter fits the model that it was trained on; evaluation may well be on other data
    now = manifest.model_inputs(recipe)
    manifest.need_same({"model": made["inputs"]["model"]}, {"model": now}, run / store.MANIFEST)
    return recipe, run, made


def _steps() -> dict[str, Any]:
    return {
        "missing": _missing,
        "fetch": _fetch,
        "format": _format,
        "train": _train,
        "evaluate": _evaluate,
        "export": _export,
        "ask": _ask,
        "estimate": _estimate,
        "score": _score,
        "resolve": _resolve,
        "reproduce": _reproduce,
    }


if __name__ == "__main__":
    sys.exit(main())
