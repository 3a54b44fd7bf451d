"""The verb webui."""

from __future__ import annotations

from images import pip_config
from images.running import runner as runners
from images.running.choices import Choices
from images.services import program as programs
from images.services import start as services
from images.services import webui as board
from images.services.program import Token
from images.verbs import cli


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
    with pip_config.secrets(choices.dry) as scratch:
        running = services.found(program.name) if not choices.dry else []
        at = port if choices.dry or running else services.free_port(host, port)
        service = programs.service(choices, runner, program, host, at, Token("", False), scratch)
        if choices.dry:
            print("\n".join(services.shown(service)))
            return
        started, seconds = services.start(service)
    print(f"webui  {started.link}: LLaMA Board, {f'ready after {seconds:.1f} s' if seconds else 'it runs already'}")
    if seconds and at != port:
        print(f"webui  port {port} was taken")
    print(f"webui  what it trains: {board.FOLDER}/saves/MODEL/lora/NAME; then: invoke export --adapter FOLDER")
    print("webui  to stop it: invoke down --name webui", flush=True)
