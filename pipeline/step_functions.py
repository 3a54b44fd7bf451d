"""What each step does with its flags: resolve the job once, hand its paths to the stage, and say what was done.

Stages are imported where they are called: torch is heavy, and `score` runs where only the standard library is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import distributed

if TYPE_CHECKING:
    from pipeline.job import Job


def _say(line: str) -> None:
    print(line, flush=True)


def _job(args: argparse.Namespace) -> Job:
    """The job of --recipe, or of the recipe in --run's manifest; with the overrides of this call."""
    from pipeline import job, recipe

    if not getattr(args, "run", ""):
        return job.resolve(recipe.load(args.recipe, args.set))
    from pipeline.runs import store

    run, made = store.named(job.all_runs(), args.run)
    return job.resolve(recipe.resolve(run.parent.name, made["recipe"], args.set, str(run / store.MANIFEST)))


def _job_of_run(args: argparse.Namespace) -> tuple[Job, Path, dict[str, Any]]:
    """The newest run, or that of --run: its job, with the overrides of this call, its folder and its manifest.

    Raises:
        Stop: no such run, or its data or model are missing or have changed.
    """
    from pipeline import job, recipe
    from pipeline.data import check
    from pipeline.runs import manifest, store

    asked = _job(args)
    run, made = store.named(job.all_runs(), args.run) if args.run else store.latest(asked.runs)
    manifest.need_trained_adapter(run, made)
    where = run / store.MANIFEST
    of_run = job.resolve(recipe.resolve(asked.recipe.name, made["recipe"], args.set, str(where)))
    check.need_raw(of_run)
    check.need_formatted(of_run)
    # the adapter fits the model that it was trained on; evaluation may use other data
    models = {"model": made["inputs"]["model"]}, {"model": manifest.model_inputs(of_run.base_model)}
    manifest.need_same(*models, where)
    return of_run, run, made


def _missing(args: argparse.Namespace) -> None:
    """Print the steps that must run before train can, one a line."""
    from pipeline.data import check

    if names := check.missing_steps(_job(args)):
        print("\n".join(names))


def _fetch(args: argparse.Namespace) -> None:
    """Fetch data and model, by hash (uses the network)."""
    from pipeline.data import fetch

    fetch.fetch(_job(args), _say)


def _fetch_gguf(args: argparse.Namespace) -> None:
    """Fetch llama.cpp's converter to GGUF, by hash (uses the network)."""
    from pipeline.data import converter

    converter.fetch_converter(Path("models"), _say)


def _format(args: argparse.Namespace) -> None:
    """Format the raw splits into rows of instruction, input and output."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # nothing is forked here
    from pipeline.data.format import format_splits

    format_splits(_job(args), _say)


def _train(args: argparse.Namespace) -> None:
    """Train a LoRA adapter in a new run, or resume one."""
    from pipeline.training.run import train

    resume = args.resume or args.resume_or_start
    run, manifest = train(_job(args), resume, distributed.print_once, or_start=args.resume_or_start)
    if distributed.rank() > 0:
        return
    done = manifest["training"]
    speed, memory = f"{done['tokens_per_second']:,.0f} tokens/s", f"{done['peak_memory_bytes'] / 2**30:.1f} GiB"
    _say(f"train  {done['steps']} steps in {done['seconds']:.0f} s, {speed}, peak memory {memory}")
    _say(f"train  {run / 'adapter'}: sha256 {done['adapter_sha256']}")


def _evaluate(args: argparse.Namespace) -> None:
    """Score base and tuned model on the evaluation split."""
    from pipeline.evaluation import evaluate

    results = evaluate.evaluate(*(found := _job_of_run(args)))
    _say(f"\n{evaluate.table(results)}\n")
    _say(f"evaluate  {found[1] / 'evaluation.json'}")
    _say(f"evaluate  {found[1] / 'report.html'}: open it in a browser")


def _export(args: argparse.Namespace) -> None:
    """Merge the adapter into the model, and check the merged one from disk."""
    from pipeline.export import foreign
    from pipeline.export import run as exports

    if args.adapter:
        run, checked = foreign.export(_job(args), Path(args.adapter), _say)
    else:
        of_run, run, made = _job_of_run(args)
        checked = exports.export(of_run, run, made)
    difference = f"logits within {checked['largest_logit_difference']:.4f} of base + adapter"
    _say(f"export  {run / 'merged'}: {checked['dtype']}, {difference}")
    asked, answer, gold = (" | ".join(str(checked[key]).splitlines()) for key in ("question", "answer", "gold"))
    _say(f"export  asked from disk: {asked} -> {answer} (gold: {gold})")
    weights = sorted((run / "merged").glob("*.safetensors"))
    size = sum(file.stat().st_size for file in weights) / 2**20
    _say(f"export  {weights[0]}{f' and {len(weights) - 1} more' if weights[1:] else ''}: {size:,.0f} MiB")
    _say(f"export  {run / 'merged' / exports.CARD}: the model card; {exports.SUMS} beside it has every file's hash")


def _gguf(args: argparse.Namespace) -> None:
    """Convert the merged model to GGUF, and check the file."""
    from pipeline import job, recipe
    from pipeline.data.formatted_rows import answer_limit
    from pipeline.export import gguf
    from pipeline.runs import store

    run, made = store.named(job.all_runs(), args.run) if args.run else store.latest(_job(args).runs)
    of_run = job.resolve(recipe.resolve(run.parent.name, made["recipe"], args.set, str(run / store.MANIFEST)))
    context = of_run.recipe.training.max_length + answer_limit(of_run)
    for file in gguf.export(run, made, of_run.models, args.quantize, context):
        _say(f"gguf   {file}: {file.stat().st_size / 2**20:,.0f} MiB, every weight compared with merged/")
    _say(f"gguf   {run / gguf.FOLDER / 'Modelfile'}: ollama create NAME -f Modelfile, in that folder")


def _push_hub(args: argparse.Namespace) -> None:
    """Push the merged model to the Hugging Face hub (uses the network)."""
    from pipeline import job
    from pipeline.export import hub
    from pipeline.runs import store

    run, made = store.named(job.all_runs(), args.run) if args.run else store.latest(_job(args).runs)
    _say(f"push   {hub.push(run, made, args.repo, _say)}")


def _merged(args: argparse.Namespace) -> tuple[Path, Job, dict[str, Any]]:
    """The newest merged model, the job of the recipe that it was exported with, with the overrides of this call, and
    its run's manifest."""
    from pipeline import job, recipe
    from pipeline.runs import manifest, store

    merged, made = store.merged_model(_job(args).runs)
    manifest.need_trained_adapter(merged.parent, made)
    manifest.need_exported(merged.parent, made)
    where = str(merged.parent / store.MANIFEST)
    values = made["export"].get("recipe", made["recipe"])
    return merged, job.resolve(recipe.resolve(merged.parent.parent.name, values, args.set, where)), made


def _ask(args: argparse.Namespace) -> None:
    """Ask the newest merged model about one context."""
    from pipeline.data.formatted_rows import answer_limit
    from pipeline.serving import ask, session

    merged, asked, made = _merged(args)
    if args.file:
        context = ask.context_of_file(Path(args.file))
    else:
        context = ask.context_of_data(asked.evaluation.raw, args.context)
    asker = ask.Asker(asked.recipe, merged, answer_limit(asked))
    if args.interactive:
        source = None if args.file else asked.evaluation.raw
        session.run(asker, session.Shown(context, args.context, source), f"ask    {merged}", _say)
        return
    answered = asker.ask(context, args.question)
    if args.json:
        of = {"run": f"{asked.recipe.name}/{merged.parent.name}", "adapter_sha256": made["training"]["adapter_sha256"]}
        _say(json.dumps({**answered.as_json(), **of}, ensure_ascii=False))
        return
    _say(f"ask    {merged}")
    _say(session.answer(answered, context) if sys.stdout.isatty() else answered.as_text())


def _serve(args: argparse.Namespace) -> None:
    """Answer requests for the newest merged model over HTTP."""
    from pipeline.data.formatted_rows import answer_limit

    _spin_less()
    from pipeline.serving import serve

    folder, name, asked = _served(args)
    serve.serve(folder, name, asked.recipe, answer_limit(asked), args.host, args.port, args.mcp, _say)


def _mcp(args: argparse.Namespace) -> None:
    """Answer calls of the tool over standard input and output, by the Model Context Protocol."""
    from pipeline.data.formatted_rows import answer_limit

    _spin_less()
    from pipeline.serving import serve

    folder, name, asked = _served(args)
    # standard output is the protocol's
    serve.stdio(folder, name, asked.recipe, answer_limit(asked), partial(print, file=sys.stderr, flush=True))


def _served(args: argparse.Namespace) -> tuple[Path, str, Job]:
    """The model to serve, its name, and the job of its recipe."""
    folder, asked = (Path(args.model), _job(args)) if args.model else _merged(args)[:2]
    return folder, folder.resolve().name if args.model else asked.recipe.name, asked


def _check_questions(args: argparse.Namespace) -> None:
    """Print what a server is asked, to compare it with evaluate, as JSON lines."""
    from pipeline.serving import check

    of_run, run, made = _served_and_evaluated(args)
    for each in check.requests(of_run, run, made, run.parent.name):
        _say(json.dumps(each, ensure_ascii=False))


def _check_answers(args: argparse.Namespace) -> None:
    """Compare a server's answers with evaluate's."""
    from pipeline.serving import check

    check.check(*_served_and_evaluated(args), Path(args.answers), _say)


def _served_and_evaluated(args: argparse.Namespace) -> tuple[Job, Path, dict[str, Any]]:
    """The run of the newest merged model, or that of --run: the job that it was evaluated as, its folder, its manifest.

    Raises:
        Stop: it was not evaluated, or its data have changed.
    """
    from pipeline import job, recipe
    from pipeline.data import check as data
    from pipeline.runs import store
    from pipeline.serving import check

    if args.run:
        run, made = store.named(job.all_runs(), args.run)
    else:
        merged, made = store.merged_model(_job(args).runs)
        run = merged.parent
    check.need_evaluated(run, made)
    values, where = made["evaluation"].get("recipe", made["recipe"]), str(run / store.MANIFEST)
    of_run = job.resolve(recipe.resolve(run.parent.name, values, args.set, where))
    data.need_raw(of_run)
    data.need_formatted(of_run)
    return of_run, run, made


def _spin_less() -> None:
    """Before torch is imported: GNU's OpenMP waits for milliseconds in a busy loop, which on a machine that computes
    something else too takes the cores from the thread that is waited for."""
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def _score(args: argparse.Namespace) -> None:
    """Score a prediction file by the authors' rules."""
    from pipeline.evaluation import scoring

    scored, note = scoring.score_file(Path(args.predictions), Path(args.gold))
    if note:
        print(f"score  {note}", file=sys.stderr, flush=True)
    if args.json:
        _say(json.dumps(scoring.as_json(scored), ensure_ascii=False))
    else:
        _say(scoring.table(scoring.summary(scored)))


def _llamafactory(args: argparse.Namespace) -> None:
    """Print the recipe as arguments of LLaMA Factory, or such arguments as a recipe."""
    from pipeline import job
    from pipeline.llama_factory import convert, view

    if args.origin:
        _say(convert.to_recipe(Path(args.origin)).rstrip("\n"))
        return
    asked = _job(args)
    output = Path(args.output) if args.output else job.all_runs() / "llama-factory" / asked.recipe.name
    model = view.read(asked, job.all_runs(), convert.on_gpu()) if args.view else None
    _say(convert.to_yaml(asked, output, model).rstrip("\n"))


def _llamaboard(args: argparse.Namespace) -> None:
    """Write the working folder of LLaMA Board: data sets, models and presets."""
    from pipeline import job, recipe
    from pipeline.data import check
    from pipeline.llama_factory import board, convert

    asked = _job(args)
    check.need_formatted(asked)
    shipped = [job.resolve(recipe.load(file.stem)) for file in sorted(recipe.SHIPPED.glob("*.toml"))]
    board.write(asked, shipped, job.all_runs(), convert.on_gpu(), _say)


def _estimate(args: argparse.Namespace) -> None:
    """Print the memory that training needs, as JSON."""
    from pipeline.data.formatted_rows import answer_limit
    from pipeline.training import memory

    asked = _job(args)
    _say(json.dumps(memory.estimate(asked.recipe, asked.base_model, answer_limit(asked))))


def _resolve(args: argparse.Namespace) -> None:
    """Print the recipe as resolved, and hashes of what it reads, as JSON."""
    from pipeline import recipe
    from pipeline.data import check
    from pipeline.runs import manifest

    asked = _job(args)
    lacking = check.missing_steps(asked)
    inputs = {} if lacking else manifest.inputs(asked)
    resolved = {"name": asked.recipe.name, "recipe": recipe.as_values(asked.recipe)}
    _say(json.dumps({**resolved, "missing": lacking, "inputs": inputs}))


def _reproduce(args: argparse.Namespace) -> None:
    """Make a run again, and compare every output."""
    from pipeline import job, recipe, reproduce
    from pipeline.runs import store

    run, made = store.named(job.all_runs(), args.run)
    values = {name: made[name].get("recipe", made["recipe"]) for name in ("evaluation", "export") if name in made}
    later: dict[str, Job] = {name: job.resolve(recipe.resolve(run.parent.name, each)) for name, each in values.items()}
    found = reproduce.reproduce(_job(args), later, run, made, _say)
    if found is None:
        return
    _say(f"\n{reproduce.table(found)}\n")
    reproduce.need_all(found)
    _say(f"reproduce  {found['run']} has every output of {found['of']}")


FUNCTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "missing": _missing,
    "fetch": _fetch,
    "fetch_gguf": _fetch_gguf,
    "format": _format,
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
    "gguf": _gguf,
    "push_hub": _push_hub,
    "ask": _ask,
    "serve": _serve,
    "mcp": _mcp,
    "check_questions": _check_questions,
    "check_answers": _check_answers,
    "llamafactory": _llamafactory,
    "llamaboard": _llamaboard,
    "estimate": _estimate,
    "score": _score,
    "resolve": _resolve,
    "reproduce": _reproduce,
}
