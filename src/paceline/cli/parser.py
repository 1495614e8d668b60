"""Commands and their options."""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Callable
from typing import Any, NoReturn

from paceline._version import __version__
from paceline.cli.commands import (
    run_bench,
    run_compare,
    run_config,
    run_doctor,
    run_evaluate,
    run_export,
    run_report,
    run_sweep,
    run_train,
    run_tune,
    run_verify,
)
from paceline.errors import RequestError

_EPILOG = """\
examples:
  paceline doctor
  paceline train CartPole-v1 --total-steps 150000 --out runs/cartpole
  paceline config show HalfCheetah-v5 --config auto
  paceline sweep HalfCheetah-v5 --num-env-runners 0,1,2 --num-envs-per-env-runner 1,4,16 --out runs/sweep
  paceline tune HalfCheetah-v5 --budget-minutes 5 --out runs/tuned
  paceline verify runs/tuned
  paceline bench HalfCheetah-v5 --num-envs 1,8,32,128
  paceline report runs/sweep
  paceline compare runs/ppo runs/impala
  paceline evaluate runs/cartpole --episodes 100
  paceline export runs/tuned --to rllib --out train_rllib.py

ENV is a Gymnasium id (HalfCheetah-v5), package.module:Id-v0, package.module:callable or a synthetic environment
(synthetic:busy?us=100). `paceline COMMAND --help` explains a command.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="paceline",
        description="Trains reinforcement-learning agents as fast as a machine allows, and proves it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"paceline {__version__}")

    def print_help(arguments: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(debug=False, run=print_help)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _add_doctor(commands)
    _add_train(commands)
    _add_config(commands)
    _add_sweep(commands)
    _add_tune(commands)
    _add_verify(commands)
    _add_bench(commands)
    _add_report(commands)
    _add_compare(commands)
    _add_evaluate(commands)
    _add_export(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, and whose commands all know ``--debug``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Abbreviations would make a script break, or mean something else, when an option is added.
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})
        # SUPPRESS: a command's own default must not undo `paceline --debug train`.
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage: one sentence is enough.

        Raises:
            RequestError: always.
        """
        raise RequestError(f"{message.removeprefix('argument ')}; see `{self.prog} --help`")


def parse(words: list[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        RequestError: an unknown command or option (the nearest known one is named), or a malformed value.
    """
    parser = build_parser()
    commands: dict[str, argparse.ArgumentParser] = next(
        action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in commands:
        raise RequestError(f"expected a command, got {command!r}; {_nearest(command, list(commands))}")
    arguments, unknown = parser.parse_known_args(words)
    arguments.words = words
    if unknown:
        chosen = commands[command] if command is not None else parser
        option = next((word for word in unknown if word.startswith("-")), None)
        if option is None:
            raise RequestError(f"expected one ENV or DIR, got {unknown[0]!r} as well; see `{chosen.prog} --help`")
        known = [name for action in chosen._actions for name in action.option_strings if name.startswith("--")]
        name = option.partition("=")[0]
        raise RequestError(
            f"expected an option of `{chosen.prog}`, got {name}; {_nearest(name, known, f'see `{chosen.prog} --help`')}"
        )
    return arguments


def _nearest(word: str, known: list[str], otherwise: str = "") -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else otherwise or f"the commands are {', '.join(known)}"


def _whole_number(text: str) -> int:
    """Read ``150000``, ``150_000`` or ``1e6``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value != int(value):
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text) if text.lstrip("+-").replace("_", "").isdigit() else int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def _command_parser(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], epilog: str
) -> argparse.ArgumentParser:
    text = (run.__doc__ or "").strip()
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def _add_doctor(commands: Any) -> None:
    parser = _command_parser(commands, "doctor", run_doctor, "examples:\n  paceline doctor\n  paceline doctor --json")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_train(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "train",
        run_train,
        "examples:\n"
        "  paceline train CartPole-v1 --total-steps 150000\n"
        "  paceline train HalfCheetah-v5 --num-env-runners 2 --num-envs-per-env-runner 8 --minutes 10\n"
        "  paceline train HalfCheetah-v5 --algo impala --num-env-runners 2 --inference runner --schedule async\n"
        "  paceline train HalfCheetah-v5 --num-env-runners 2 --schedule pipelined\n"
        "  paceline train HalfCheetah-v5 --algo a3c --config auto\n"
        "  paceline train HalfCheetah-v5 --plan auto\n"
        "  paceline train HalfCheetah-v5 --set algo.learning_rate=1e-3 --set algo.num_epochs=5\n"
        "  paceline train --config run.yaml --seed 3 --out runs/seed3\n"
        "  paceline train --config configs/halfcheetah.yaml --algo a2c --minutes 10\n"
        "  paceline train CartPole-v1 --total-steps 50000 --trace trace.json\n"
        "  paceline train --resume runs/seed3\n"
        "  paceline train --resume runs/seed3 --num-env-runners 0 --total-steps 2000000",
    )
    _add_run_options(parser)
    _add_single_run_options(parser)
    _add_out(parser)
    parser.add_argument("--resume", metavar="DIR", help="continue the run in this folder")
    parser.add_argument("--trace", metavar="FILE", help="trace a few iterations into this file, for ui.perfetto.dev")
    parser.add_argument(
        "--wandb", metavar="PROJECT", help="send curves to Weights & Biases (if it is installed); else nothing is sent"
    )


def _add_config(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "config",
        run_config,
        "examples:\n"
        "  paceline config show HalfCheetah-v5\n"
        "  paceline config show HalfCheetah-v5 --config auto\n"
        "  paceline config show --config configs/halfcheetah.yaml --num-env-runners 2 --json\n"
        "  paceline config show HalfCheetah-v5 --algo impala --num-env-runners 2 > run.yaml",
    )
    parser.add_argument("action", choices=("show",), help="show: print the run that these options make, as YAML")
    _add_run_options(parser)
    _add_single_run_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(resume=None)


def _add_single_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of one run: where a sweep takes several values, it takes one."""
    parser.add_argument(
        "--num-env-runners",
        type=_whole_number,
        metavar="R",
        help="runner processes, e.g. 2; 0: environments in the learner's process (default: what suits the machine)",
    )
    parser.add_argument(
        "--num-envs-per-env-runner",
        type=_whole_number,
        metavar="E",
        help="environments in each runner, e.g. 8: 2 runners make 16 environments (default 8)",
    )
    parser.add_argument(
        "--plan", metavar="FILE", help="YAML file with a plan, e.g. runs/tuned/plan.yaml; auto: tune for a minute"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--total-steps", type=_whole_number, metavar="N", help="environment steps (default 1000000)")
    budget.add_argument("--minutes", type=_number, metavar="M", help="minutes, compilation not counted")
    parser.add_argument(
        "--step-timeout-s",
        type=_number,
        metavar="S",
        help="seconds after which a step counts as hung, with runner processes (default 600)",
    )


def _add_sweep(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "sweep",
        run_sweep,
        "examples:\n"
        "  paceline sweep HalfCheetah-v5 --num-env-runners 0,1,2 --num-envs-per-env-runner 1,4,16 --iterations 5\n"
        "  paceline sweep CartPole-v1 --num-env-runners 0,2 --num-envs-per-env-runner 8 --repeats 3 --dry-run\n"
        "  paceline sweep HalfCheetah-v5 --num-env-runners 2 --axis algo.num_epochs=[5,10] "
        "--axis plan.learner_threads=[1,2]",
    )
    _add_run_options(parser)
    _add_out(parser)
    parser.add_argument("--num-env-runners", metavar="R,R,..", help="numbers of runner processes, e.g. 0,1,2")
    parser.add_argument("--num-envs-per-env-runner", metavar="E,E,..", help="environments in each, e.g. 1,4,16")
    parser.add_argument(
        "--axis", action="append", default=[], metavar="FIELD=[A,B]", help="any other spec field as an axis"
    )
    parser.add_argument("--iterations", type=_whole_number, help="measured iterations per trial (default 5)")
    parser.add_argument(
        "--warmup-iterations", type=_whole_number, help="iterations before them, not counted (default 1)"
    )
    parser.add_argument("--repeats", type=_whole_number, help="how often each trial is run (default 1)")
    parser.add_argument("--trial-timeout-s", type=_number, help="seconds after which a trial is stopped (default 900)")
    parser.add_argument("--trial-memory-gib", type=_number, help="memory at which a trial is stopped")
    parser.add_argument("--dry-run", action="store_true", help="show the trials and the expected time, start nothing")
    parser.add_argument(
        "--resume", nargs="?", const=True, metavar="DIR", help="run only what is missing in --out (or in DIR)"
    )


def _add_tune(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "tune",
        run_tune,
        "It measures one environment, the policy and the learner, expects a speed of every plan, lets those race\n"
        "that may win, and measures the finalists again in fresh processes. Ctrl-C saves the best so far.\n"
        "\n"
        "examples:\n"
        "  paceline tune HalfCheetah-v5\n"
        "  paceline tune CartPole-v1 --budget-minutes 2 --out runs/tuned\n"
        "  paceline tune HalfCheetah-v5 --trace --out runs/tuned\n"
        "  paceline tune my_file:MyEnv --algo impala --objective frugal --max-cores 4\n"
        "  paceline tune HalfCheetah-v5 --backends serial,shm --num-envs-per-env-runner 4,8,16\n"
        "  paceline tune CartPole-v1 --try-batch-sizes 2048,4096 --try-num-epochs 5 --verify-learning\n"
        "  paceline train HalfCheetah-v5 --plan runs/tuned/plan.yaml",
    )
    _add_run_options(parser)
    _add_out(parser)
    parser.add_argument("--budget-minutes", type=_number, metavar="M", help="minutes for all of it (default 5)")
    parser.add_argument(
        "--objective",
        metavar="WHAT",
        help="fastest: speed alone (the default); balanced, frugal: cores and memory have a price; or the price of "
        "each: cores=1 takes twice the cores only for twice the speed, cores=0.5,memory=0.1 is milder",
    )
    parser.add_argument("--backends", metavar="B,B,..", help="of serial, shm, thread, native (default all that suit)")
    parser.add_argument("--num-env-runners", metavar="R,R,..", help="numbers of runners to try")
    parser.add_argument("--num-envs-per-env-runner", metavar="E,E,..", help="environments in each to try")
    parser.add_argument("--learner-threads", metavar="T,T,..", help="threads of the learner to try, e.g. 1,2")
    parser.add_argument("--devices", metavar="D,D,..", help="of cpu, gpu: devices of the learner to try")
    for what, example in (("batch-sizes", "2048,4096"), ("minibatch-sizes", "128,256"), ("num-epochs", "4,5")):
        parser.add_argument(
            f"--try-{what}",
            metavar="N,N,..",
            help=f"what else to try with the winner, e.g. {example}; learns differently",
        )
    parser.add_argument(
        "--verify-learning",
        action="store_true",
        help="before one of these is recommended, train with it and without it: 3 seeds each, after the budget",
    )
    parser.add_argument("--verify-minutes", type=_number, metavar="M", help="training of each of the two (default 1)")
    parser.add_argument(
        "--trace", action="store_true", help="leave trace.json, too: iterations of the winner, for ui.perfetto.dev"
    )
    parser.add_argument("--again", action="store_true", help="measure, even if the same was tuned here before")
    parser.add_argument("--max-cores", type=_whole_number, metavar="C", help="runners that a plan may have")
    parser.add_argument("--max-memory-gib", type=_number, metavar="G", help="memory that a plan may hold")
    parser.add_argument(
        "--max-lag", type=_whole_number, metavar="L", help="updates that experience may be old, with asynchronous plans"
    )


def _add_verify(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "verify",
        run_verify,
        "It runs the plan and what it was held against in fresh processes, by turns, and says SAME, FASTER, SLOWER\n"
        "or CANNOT TELL, whether the plan still wins, and what is no longer as it was. All four exit with status 0.\n"
        "\n"
        "examples:\n"
        "  paceline verify runs/tuned\n"
        "  paceline verify runs/tuned --minutes 3\n"
        "  paceline verify runs/tuned --json",
    )
    parser.add_argument("folder", metavar="DIR", help="the --out folder of tune")
    parser.add_argument("--minutes", type=_number, default=1.0, metavar="M", help="minutes for all of it (default 1)")
    parser.add_argument(
        "--json", action="store_true", help="print the figures as JSON; progress goes to standard error"
    )


def _add_bench(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "bench",
        run_bench,
        "The defaults take about a minute for HalfCheetah-v5. What cannot run an environment is told as such.\n"
        "\n"
        "examples:\n"
        "  paceline bench HalfCheetah-v5\n"
        "  paceline bench CartPole-v1 --backends serial,pipe,shm,thread --num-envs 1,20,50,200 --out runs/bench\n"
        "  paceline bench my_file:MyEnv --num-envs 8,64 --num-env-runners 4 --actions actions.npy --path step\n"
        "  paceline bench 'synthetic:sleep?ms=2&sigma=1' --backends shm --num-envs 32 --num-env-runners 32 "
        "--batch-size 16\n"
        "  paceline report runs/bench",
    )
    parser.add_argument("env", metavar="ENV", help="environment")
    parser.add_argument(
        "--backends",
        metavar="B,B,..",
        help="of serial, pipe, shm, thread, native, auto (default all but pipe and auto)",
    )
    parser.add_argument("--num-envs", metavar="N,N,..", help="numbers of environments (default 1,8,32,128)")
    parser.add_argument(
        "--num-env-runners",
        type=_whole_number,
        metavar="R",
        help="runners (processes or threads) of the parallel executions (default: one per usable core)",
    )
    parser.add_argument(
        "--actions", metavar="WHAT", help="random, zero or an .npy file [T, ..] or [T, M, ..] (default random)"
    )
    parser.add_argument("--seconds", type=_number, metavar="S", help="length of a measured window (default 0.3)")
    parser.add_argument("--rounds", type=_whole_number, metavar="K", help="windows of each case (default 6)")
    parser.add_argument(
        "--path", choices=("send", "step"), help="send and recv, or Gymnasium's step with its copies (default send)"
    )
    parser.add_argument(
        "--batch-size",
        type=_whole_number,
        metavar="B",
        help="environments that recv waits for, first ready first (default all)",
    )
    parser.add_argument("--infos", choices=("none", "all"), help="which infos travel (default none)")
    parser.add_argument(
        "--max-minutes", type=_number, metavar="M", help="start nothing new after so many minutes (default 10)"
    )
    parser.add_argument(
        "--case-timeout-s",
        type=_number,
        metavar="S",
        help="seconds after which a set-up or a window counts as hung (default 120)",
    )
    parser.add_argument("--seed", type=_whole_number, help="seed of actions and first resets (default 0)")
    parser.add_argument("--out", metavar="DIR", help="folder for results (default runs/<env>-bench-<time>)")
    parser.add_argument("--json", action="store_true", help="print results.json; progress goes to standard error")


def _add_report(commands: Any) -> None:
    parser = _command_parser(commands, "report", run_report, "example:\n  paceline report runs/sweep")
    parser.add_argument("folder", metavar="DIR", help="the --out folder of train, sweep, tune or bench")
    parser.add_argument("--html", action="store_true", help="accepted for completeness: report.html is always written")


def _add_compare(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "compare",
        run_compare,
        "Runs that differ in their seeds alone are one contender; the first contender is what the others are held\n"
        "against. A folder of runs stands for the runs in it. One seed has no interval: train three or more.\n"
        "\n"
        "examples:\n"
        "  paceline compare runs/ppo runs/impala\n"
        "  paceline compare runs/ppo/seed0 runs/ppo/seed1 runs/ppo/seed2 runs/impala --out runs/ppo-impala\n"
        "  paceline compare runs/ppo runs/ppo-quick --names usual,quick --json",
    )
    parser.add_argument(
        "folders", nargs="+", metavar="DIR", help="the --out folders of train, or folders of such folders"
    )
    parser.add_argument("--names", metavar="A,B,..", help="names of the contenders, in the order of their folders")
    parser.add_argument("--out", metavar="DIR", help="folder for the comparison (default runs/compare-<time>)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of the text")


def _add_evaluate(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "evaluate",
        run_evaluate,
        "examples:\n  paceline evaluate runs/cartpole --episodes 100\n"
        "  paceline evaluate runs/halfcheetah --episodes 100 --num-envs 20 --num-env-runners 2\n"
        "  paceline evaluate runs/cartpole --episodes 20 --video runs/cartpole-films\n"
        "  paceline evaluate runs/cartpole/checkpoints/000000149504 --sampled --json",
    )
    parser.add_argument("folder", metavar="DIR", help="the --out folder of train, or one checkpoint's folder")
    parser.add_argument(
        "--episodes", type=_whole_number, default=100, metavar="K", help="whole episodes to play (default 100)"
    )
    parser.add_argument(
        "--num-envs", type=_whole_number, default=10, metavar="N", help="environments that play at once (default 10)"
    )
    parser.add_argument(
        "--num-env-runners",
        type=_whole_number,
        default=0,
        metavar="R",
        help="processes that step them; the episodes are the same (default 0: this process)",
    )
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which one (default best)")
    parser.add_argument("--sampled", action="store_true", help="sample actions instead of taking the most probable")
    parser.add_argument(
        "--seed", type=_whole_number, default=1_000_003, help="seed of environments and sampled actions"
    )
    parser.add_argument(
        "--video",
        metavar="FOLDER",
        help="film three episodes, as MP4 files in this folder; needs MoviePy (pip install moviepy pygame)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_export(commands: Any) -> None:
    parser = _command_parser(
        commands,
        "export",
        run_export,
        "yaml: a whole run for `paceline train --config`. rllib, sb3: a Python script that trains with RLlib (ppo,\n"
        "impala) or Stable-Baselines3 (ppo, a2c). gymnasium: one with the paceline.make_vec call and a loop. Each of\n"
        "them runs as it is, and prints its speed.\n"
        "numpy: a policy as one .npz of arrays named by layer, and JSON text on activation, spaces and normalisation;\n"
        "examples/numpy_policy.py reads it.\n"
        "\n"
        "examples:\n"
        "  paceline export runs/tuned --to yaml --out run.yaml\n"
        "  paceline export runs/tuned --to rllib --out train_rllib.py\n"
        "  paceline export runs/sweep --to sb3 > train_sb3.py\n"
        "  paceline export runs/cartpole --to gymnasium\n"
        "  paceline export runs/cartpole --to numpy --out policy.npz",
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="the --out folder of tune, sweep or train; for numpy that of train, or one checkpoint's folder",
    )
    parser.add_argument(
        "--to",
        choices=("yaml", "rllib", "sb3", "gymnasium", "numpy"),
        required=True,
        help="the form: yaml, rllib, sb3, gymnasium or numpy",
    )
    parser.add_argument("--out", metavar="FILE", help="the file to write (default: print it; numpy needs a file)")
    parser.add_argument("--checkpoint", choices=("best", "last"), help="which one, for numpy (default best)")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="DIR", help="folder for results (default runs/<env>-<what>-<time>)")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", nargs="?", metavar="ENV", help="environment; may be left out with --config")
    parser.add_argument("--algo", metavar="NAME", help="ppo, a2c, a3c or impala (default ppo)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML file with env, algo, plan, budget, seed; of one run also auto: made from this machine's cores",
    )
    parser.add_argument("--backend", metavar="NAME", help="auto, serial, thread, pipe, shm or native")
    parser.add_argument(
        "--inference",
        metavar="WHERE",
        help="where the policy acts: learner (one batch for all), or runner (a copy in each, e.g. with --algo impala)",
    )
    parser.add_argument(
        "--schedule",
        metavar="NAME",
        help="who waits: sync (sample, learn, repeat), pipelined (half of the environments steps while the policy acts "
        "for the others), async (runners never wait: a3c, impala); default: what suits the algorithm",
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu or gpu")
    parser.add_argument("--engine", metavar="NAME", help="whose trainer: paceline")
    parser.add_argument("--batch-size", type=_whole_number, metavar="B", help="steps per update, over all environments")
    parser.add_argument("--minibatch-size", type=_whole_number, metavar="M", help="steps per gradient step")
    parser.add_argument("--num-epochs", type=_whole_number, metavar="K", help="passes over the batch")
    parser.add_argument("--seed", type=_whole_number, help="seed (default 0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any spec field, e.g. algo.gamma=0.98"
    )
