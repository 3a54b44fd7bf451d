"""The verb webui."""

from __future__ import annotations

from pathlib import Path

from images.running import runner as runners
from images.running.choices import Choices
from images.services import program as programs
from images.services import webui as board
from images.services.program import Token
from images.services.service import Service
from images.verbs import background, cli


def webui(choices: Choices, host: str, port: int) -> None:
    """Start LLaMA Board in the background, and print its link once it is ready."""
    program = board.PROGRAM
    programs.need_loopback(program, host)
    asked = cli.runner(choices)
    runner = "docker" if asked == "docker" else "venv"  # a devcontainer has not its packages
    if not choices.dry:
        runners.need_environment(choices, runner, image=program.image)
    for step in (*runners.missing(choices, asked), "llamaboard"):
        cli.run_step(choices, step)

    def make(at: int, scratch: Path) -> Service:
        return programs.service(choices, runner, program, host, at, Token("", False), scratch)

    begun = background.begin(choices, program.name, host, port, make)
    if begun is None:
        return
    print(f"webui  {begun.running.link}: LLaMA Board, {begun.how}")
    begun.say_port()
    print(f"webui  what it trains: {board.FOLDER}/saves/MODEL/lora/NAME; then: invoke export --adapter FOLDER")
    print("webui  to stop it: invoke down --name webui", flush=True)
