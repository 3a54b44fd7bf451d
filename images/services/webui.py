"""The service `webui`: LLaMA Board, LLaMA Factory's page, in its working folder runs/llama-board/."""

from __future__ import annotations

from images.services.program import Program

FOLDER = "runs/llama-board"  # the step llamaboard writes its settings

# it knows no flags: its working directory, and Gradio's variables, say where it writes and listens; and it starts
# `llamafactory-cli train` by the PATH
_START = f"""
import os, sys
port, host = sys.argv.pop(), sys.argv.pop()
os.chdir("{FOLDER}")
path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
os.environ.update(GRADIO_SERVER_NAME=host, GRADIO_SERVER_PORT=port, PATH=path)
from llamafactory.cli import main
main()
"""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    # GNU's OpenMP waits in a busy loop, which takes the cores from the thread that is waited for where others compute
    # too: with 20000 a third of the processor time, on two cores that others used
    "GOMP_SPINCOUNT": "20000",
}
"""What LLaMA Factory runs with, on a page or by itself."""

PROGRAM = Program(
    name="webui",
    image="webui",
    command=("python", "-c", _START, "webui", "{host}", "{port}"),
    port=7860,
    health="/",
    patience=180,
    writes=("runs",),
    environment={
        "GRADIO_ANALYTICS_ENABLED": "False",  # neither statistics nor a look for a newer version
        **ENVIRONMENT,
        "BROWSER": "true",  # it opens a browser where it runs; `true` does nothing
    },
    gpu=True,
)
