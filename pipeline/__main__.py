"""The steps inside the container: `python -m pipeline STEP --recipe NAME --set section.key=value`.

Exit status: 0 done; 1 stopped, with the reason in four lines; 2 a wrong command line; 75 training received SIGTERM and
has saved (pipeline/steps.toml).
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import command_line, distributed, errors, lifeline
from pipeline.errors import OwnStop, Paused, Stop
from pipeline.step_functions import FUNCTIONS
from pipeline.steps import EXIT_STATUS, STEPS

if TYPE_CHECKING:
    pass  # `score` runs where only the standard library is

HELPS = {name: str(function.__doc__).splitlines()[0] for name, function in FUNCTIONS.items()}
_LAUNCHER_GRACE = 2  # seconds: the launcher ends all ranks when one has ended, and rank 0 is to print the reason


def main(arguments: list[str] | None = None) -> int:
    """Run one step; returns the exit status."""
    args = command_line.parser(str(__doc__), HELPS).parse_args(arguments)
    name = args.step
    lifeline.watch()
    try:
        use_the_same_kernels()
        _be_quiet(offline=not STEPS[name].network)
        if STEPS[name].parallel and args.nodes * args.processes > 1 and "WORLD_SIZE" not in os.environ:
            words = sys.argv[1:] if arguments is None else arguments
            return distributed.launch(args.processes, args.nodes, args.node, args.master, words)
        FUNCTIONS[name](args)
        distributed.leave()
    except Stop as stop:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        if distributed.rank() > 0 and not isinstance(stop, OwnStop):
            time.sleep(_LAUNCHER_GRACE)
        else:
            print(f"pintune {'' if name == 'missing' else name + ' '}stopped\n{stop}", file=sys.stderr)
        if isinstance(stop, Paused) and (mark := os.environ.get("PINTUNE_PAUSED")):
            Path(mark).touch()  # tells the launcher
        return stop.status
    except KeyboardInterrupt:
        print(f"pintune {name} interrupted", file=sys.stderr)
        return EXIT_STATUS["interrupted"]
    except BrokenPipeError:  # such as `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_STATUS["broken_pipe"]
    except Exception as error:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        print(f"pintune {name} stopped\n{errors.unexpected(error, name)}", file=sys.stderr)
        return EXIT_STATUS["stopped"]
    return EXIT_STATUS["done"]


def use_the_same_kernels() -> None:
    """Before torch is imported: one set of kernels on every processor, and a cuBLAS workspace that gives the same bits.

    Wider kernels round differently, and without STRICT a product with a small matrix such as LoRA's depends on the
    number of threads. AVX2 is in every x86-64 server since 2015; on two cores of a Zen 4 it costs the quickstart no
    measurable speed. STRICT costs about 1 % on two cores of a Xeon: two pairs of six steps.
    """
    settings = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2,STRICT"}
    for name, value in {**settings, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}.items():
        os.environ.setdefault(name, value)


def _be_quiet(offline: bool = True) -> None:
    """Before torch and transformers are imported: offline except to fetch, and only our progress bars."""
    settings = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_TELEMETRY": "1"}
    if offline:
        settings |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if not sys.stdout.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    if os.environ.get("PINTUNE_DEBUG") != "1":
        warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
