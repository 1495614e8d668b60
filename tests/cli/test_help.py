"""What a person sees who types ``paceline`` and looks around."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import Run

from paceline import __version__
from paceline.cli.parser import build_parser

COMMANDS = ("doctor", "train", "config", "sweep", "tune", "verify", "bench", "report", "compare", "evaluate", "export")


def test_without_a_command_the_help_is_shown(run: Run) -> None:
    done = run()
    assert done.returncode == 0
    assert done.stderr == ""
    assert "examples:" in done.stdout
    for command in COMMANDS:
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        build_parser().parse_args([command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert f"paceline {command} " in text.partition("example")[2]
    assert "--debug" in text


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").stdout == f"paceline {__version__}\n"


def test_help_loads_nothing_heavy(environment: dict[str, str]) -> None:
    code = (
        "import sys; from paceline.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'jax', 'numpy', 'gymnasium', 'pydantic', 'rich', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_that_has_no_room_is_one_sentence(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "paceline", "doctor"], env=environment, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device; free some space, or send the output elsewhere" in done.stderr


@pytest.mark.parametrize("arguments", ["", "--help", "doctor --json"])
def test_a_reader_that_goes_away_is_no_error(arguments: str, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "paceline", *arguments.split()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 1)  # the doctor may have found something
    assert errors == ""
