"""What the documents promise holds: commands parse, configs load, names exist, every field is explained."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.analysis import bottleneck, cautions, choice, recommend, scaling, stats
from paceline.cli.parser import parse
from paceline.cli.request import run_data, sweep_data
from paceline.measure import ledger, result, throughput
from paceline.spec import (
    ALGORITHMS,
    Budget,
    EnvSpec,
    NetworkSpec,
    Plan,
    PPOSpec,
    RunSpec,
    Spec,
    SweepSpec,
    build_spec,
    load_yaml,
    merge_fields,
    parse_value,
)

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "paceline"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("benchmarks/*.md"))]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
IN_A_RESULT = re.compile(
    r"(runs|checkpoints|tb|logs|speed|learner|episode|machine|time_share|actor|observation|action)/"
)
"""Folders of runs, and names of curves and exported arrays: no files of the repository."""
PLACEHOLDER = re.compile(r"\.\.(?!/)|…|<")
"""What marks a command as a pattern rather than a command."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands_in(text: str, program: str) -> Iterator[str]:
    """Yield every command of ``program``: on a line of its own, or between backquotes."""
    joined = re.sub(r" *\\\n[ #]*", " ", text)
    lines = re.findall(rf"^[\s#>$]*(?:\.venv/bin/)?({program} [^\n]*)$", joined, re.MULTILINE)
    quoted = re.findall(rf"(?<!`)`({program} [^`]+)`(?!`)", joined)
    for command in [*lines, *quoted]:
        stripped = re.split(r"\s+#|\s{3,}|[;|&>]|`", command.replace("\n", " "))[0].strip()
        if not PLACEHOLDER.search(stripped):
            yield stripped


def documented_commands() -> list[Any]:
    found: dict[str, str] = {}
    for path in [*DOCUMENTS, *CONFIGS, *EXAMPLES]:
        for command in commands_in(path.read_text(encoding="utf-8"), "paceline"):
            found.setdefault(command, name_of(path))
    return [pytest.param(command, id=f"{where}: {command}") for command, where in found.items()]


@pytest.mark.parametrize("command", documented_commands())
def test_every_documented_command_makes_sense(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # configs are named from there
    words = shlex.split(command)[1:]
    if words[0].startswith("--") or len(words) == 1:  # the mere name of a command, or --help
        with pytest.raises(SystemExit) as end:
            parse([words[0], "--help"])
        assert end.value.code == 0
        return
    arguments = parse(words)
    for option, placeholder in (("plan", "plan.yaml"), ("config", "run.yaml")):
        if Path(getattr(arguments, option, None) or "").name == placeholder:
            setattr(arguments, option, None)
            arguments.env = arguments.env or "CartPole-v1"
    if arguments.command in ("train", "config") and not arguments.resume:
        build_spec(RunSpec, run_data(arguments), source=command)
    if arguments.command == "sweep" and not arguments.resume:
        build_spec(SweepSpec, sweep_data(arguments), source=command)


def test_commands_are_found_however_they_are_written() -> None:
    text = "see `paceline doctor`,\n    paceline train Pole-v1 \\\n      --seed 1   # why\n#   paceline report runs/x\n"
    assert sorted(commands_in(text, "paceline")) == [
        "paceline doctor", "paceline report runs/x", "paceline train Pole-v1 --seed 1",
    ]  # fmt: skip
    assert not list(commands_in("`paceline sweep ENV ..` and paceline sweep x in a sentence", "paceline"))
    assert len(documented_commands()) >= 8


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", read("Makefile"), re.MULTILINE))
    named = {
        command.split()[1] for path in DOCUMENTS for command in commands_in(path.read_text(encoding="utf-8"), "make")
    }
    assert {"test", "check", "demo"} <= named <= targets


@pytest.mark.parametrize(
    ("target", "algo", "plan"),
    [
        ("train", "ppo", {}),
        ("train-timed", "ppo", {}),
        ("train-parallel", "ppo", {"num_env_runners": 3, "num_envs_per_env_runner": 8}),
        ("train-impala", "impala", {"num_env_runners": 0, "num_envs_per_env_runner": 8}),
        ("train-impala-parallel", "impala", {"num_env_runners": 3, "schedule": "async"}),
        ("train-a2c", "a2c", {}),
        ("train-a3c", "a3c", {"num_env_runners": 3}),
    ],
)
def test_every_target_that_trains_makes_a_sound_command(target: str, algo: str, plan: dict[str, Any]) -> None:
    variables = ["ENV=CartPole-v1", "STEPS=4096", "MINUTES=2", "OUT=runs/mine", "RUNNERS=3"]
    shown = subprocess.run(
        ["make", "--dry-run", target, *variables], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (command,) = commands_in(shown, "[^ ]*paceline train")
    arguments = parse(shlex.split(command)[1:])
    spec = build_spec(RunSpec, run_data(arguments), source=command)
    assert (arguments.out, spec.env.id, spec.algo.name) == ("runs/mine", "CartPole-v1", algo)
    assert spec.budget == (Budget(minutes=2) if target == "train-timed" else Budget(total_steps=4096))
    assert spec.plan.model_dump().items() >= plan.items()
    spec.plan.for_algorithm(algo)


def test_the_table_that_takes_hours_has_a_target_of_its_own() -> None:
    runs = {}
    for target in ("bench", "bench-learning"):
        words = ["make", "--dry-run", target]
        shown = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        runs[target] = set(re.findall(r"-m (benchmarks\.\w+)", shown))
    assert runs["bench-learning"] == {"benchmarks.learning"}
    assert "benchmarks.vector_peers" in runs["bench"] and "benchmarks.learning" not in runs["bench"]


def test_make_says_what_tensorboard_needs(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / ".installed").touch()
    words = ["make", "-o", f"{tmp_path}/.installed", "tensorboard", f"VENV={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install tensorboard" in done.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_config_loads_and_resolves(path: Path) -> None:
    from paceline.training.resolve import check_batch_fits, resolve_spec

    spec = build_spec(RunSpec, load_yaml(path), source=path.name)
    resolved = resolve_spec(spec)
    check_batch_fits(resolved)
    filled = resolved.algo.model_dump()
    assert merge_fields(filled, spec.algo.model_dump(exclude_none=True)) == filled  # a preset never overrides a file


def test_the_halfcheetah_configs_differ_in_the_plan_alone() -> None:
    one, many = (
        build_spec(RunSpec, load_yaml(ROOT / "configs" / f"{name}.yaml"))
        for name in ("halfcheetah", "halfcheetah-16envs")
    )
    assert one.model_dump(exclude={"plan"}) == many.model_dump(exclude={"plan"})
    assert (one.plan.num_envs, many.plan.num_envs) == (1, 16)


def test_every_algorithm_has_a_standard_and_a_high_end_config() -> None:
    specs = {path.stem: build_spec(RunSpec, load_yaml(path)) for path in CONFIGS}
    halfcheetah = [name for name, spec in specs.items() if spec.env.id == "HalfCheetah-v5"]
    standard = {specs[name].algo.name for name in halfcheetah if not name.endswith("-highend")}
    high_end = [specs[name] for name in halfcheetah if name.endswith("-highend")]
    assert standard == {spec.algo.name for spec in high_end} == set(ALGORITHMS)
    assert {(spec.plan.num_env_runners, spec.plan.num_envs) for spec in high_end} == {(7, 112)}


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_config_says_how_it_is_used(path: Path) -> None:
    assert f"paceline train --config configs/{path.name}" in path.read_text(encoding="utf-8").partition("env:")[0]


def headings(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = document.parent / file if file else document
        assert linked.exists(), f"{target} is not there"
        assert not anchor or anchor in headings(linked.read_text(encoding="utf-8")), f"no heading {target}"


def quoted_names(text: str) -> set[str]:
    without_blocks = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return set(re.findall(r"`([^`\n]+)`", without_blocks))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_file_that_is_named_exists(document: Path) -> None:
    """A name with a slash is a path in the repository, or in ``src/paceline``; ``file: name`` is defined there."""
    for quoted in quoted_names(document.read_text(encoding="utf-8")):
        match = re.fullmatch(r"((?:[\w.*-]+/)+[\w.*-]*|[\w-]+\.py)(?:: (\w+))?", quoted)
        if not match or IN_A_RESULT.match(quoted):
            continue
        path, name = match.groups()
        found = [file for base in (ROOT, SOURCE) for file in base.glob(path.rstrip("/"))]
        if not found and "/" not in path:
            found = list(SOURCE.rglob(path)) or list((ROOT / "tests").rglob(path))
            if path in ("utils.py", "common.py", "helpers.py"):
                assert not found, f"{path} must not exist"
                continue
        assert found, f"{document.name} names {quoted}, which is not there"
        if name:
            assert name in defined_in(found[0]), f"{document.name}: {path} does not define {name}"


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_the_map_has_every_room_and_every_file() -> None:
    text = read("ARCHITECTURE.md")
    rows = dict(re.findall(r"^\| `([\w./]+)` \| (.+) \|$", text, re.MULTILINE))
    rooms = {path.name + "/" for path in SOURCE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(rows)
    for room in rooms:
        files = {path.name for path in (SOURCE / room).glob("*.py")} - {"__init__.py"}
        patterns = {name for name in quoted_names(rows[room]) if name.endswith(".py")}
        missing = {file for file in files if not any(Path(file).match(pattern) for pattern in patterns)}
        assert not missing, f"the row of {room} lacks {sorted(missing)}"
    alone = {path.name for path in SOURCE.glob("*.py")}
    assert all(f"`{name}`" in text for name in alone), sorted(alone)


def test_the_fences_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    block = "".join(f"    {layer}\n" for layer in layers)
    assert block in read("ARCHITECTURE.md")
    fenced = {module for contract in contracts for module in contract.get("forbidden_modules", ())}
    fences = read("ARCHITECTURE.md").partition("## Fences")[2].partition("## ")[0]
    assert all(module in fences or module == "pynvml" for module in fenced)


def explained(document: str) -> set[str]:
    """Return the names in the first columns of the tables of a document."""
    cells = re.findall(r"^\| ([^|]+) \|", read(document), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("spec", [Plan, *ALGORITHMS.values(), NetworkSpec, RunSpec, EnvSpec, Budget, SweepSpec])
def test_the_glossary_explains_every_setting(spec: type[Spec]) -> None:
    assert set(spec.model_fields) <= explained("docs/glossary.md")


def test_the_glossary_tells_the_defaults_of_ppo() -> None:
    section = read("docs/glossary.md").partition("## PPO")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", section, re.MULTILINE)
    told = {name: value.strip().strip("`") for name, value in rows}
    for spec in (PPOSpec, NetworkSpec):
        for name, field in spec.model_fields.items():
            default = field.default
            if default is None:
                assert told[name] == "preset"
            elif name != "network":
                value = json.loads(f"[{told[name]}]") if isinstance(default, tuple) else parse_value(told[name])
                assert value == (list(default) if isinstance(default, tuple) else default), name


@pytest.mark.parametrize(
    "record",
    [
        result.Summary, result.IterationRecord, result.ResourceUse, result.GpuSample, result.LedgerRecord,
        result.ExperimentInfo, result.RunResult, result.ExperimentConfig,
    ],
)  # fmt: skip
def test_the_metrics_have_every_field_of_the_results(record: type[result.Record]) -> None:
    named = explained("docs/metrics.md")
    if record is result.ExperimentConfig:
        named = quoted_names(read("docs/metrics.md"))
    assert set(record.model_fields) <= named


def test_the_metrics_have_every_phase_and_every_outcome() -> None:
    named = explained("docs/metrics.md")
    assert {*ledger.PHASES, ledger.UNATTRIBUTED} <= named
    assert set(result.Outcome.__args__) <= named  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (throughput.MAX_VARIATION, "varies by more than {:.0%}"),
        (throughput.MAX_DRIFT, "drifts by more than {:.0%}"),
        (throughput.MIN_ITERATIONS_FOR_INTERVAL, "`null` below {} iterations"),
        (stats.MIN_SAMPLES, "from {} samples"),
        (stats.RESAMPLES, "percentile bootstrap, {:,} resamples"),
        (stats.SAME_WITHIN, "within {:.0%} of 1"),
        (cautions.NOISY_CV, "above {:.0%} the row is called noisy"),
        (cautions.MUCH_UNATTRIBUTED / 100, "above {:.0%} the report warns"),
        (choice.MIN_CHOICE_POINTS, "from {} points of one kind"),
        (choice.POOR_FIT, "above {:.0%} the report says to trust the rows"),
        (bottleneck.BALANCED_BELOW, "largest share is below {:.0%}"),
        (bottleneck.MEMORY_BOUND_FROM, "holds {:.0%} of the limit"),
        (bottleneck.BUSY_FROM, "utilisation of {:.0%} or more"),
        (recommend.CPU_GUARD, "`cpu_utilization` < {:.0%}"),
        (recommend.RAM_GUARD, "peak memory < {:.0%} of the limit"),
        (recommend.TIED_WITHIN, "at most {:.0%} slower"),
        (recommend.RECOMMENDED_CORE_EFFICIENCY, "efficiency per core is at least {:.0%}"),
        (recommend.SCENARIOS[0].min_efficiency, "efficiency per env >= {:.0%} |"),
        (recommend.SCENARIOS[1].min_efficiency, "efficiency per env >= {:.0%} and"),
        (recommend.SCENARIOS[1].min_speedup, "speedup >= {}"),
        (scaling.RATING_BANDS[0][0], "excellent from {:.0%}"),
        (scaling.RATING_BANDS[1][0], "good from {:.0%}"),
        (scaling.RATING_BANDS[2][0], "fair from {:.0%}"),
    ],
)
def test_the_metrics_tell_the_thresholds_that_are_in_force(value: float, sentence: str) -> None:
    spaced = re.sub(r"(?<=\d)%", " %", sentence.format(value))
    assert spaced in read("docs/metrics.md")


def run_example(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_loop_with_numpy_learns_to_balance() -> None:
    returns = [
        float(line.split("mean return")[1].split(",")[0])
        for line in run_example("examples/vector_loop.py").splitlines()
    ]
    assert len(returns) == 8
    assert returns[-1] > 2 * returns[0]


@pytest.mark.slow
def test_an_environment_of_ones_own_trains_and_its_policy_acts(tmp_path: Path) -> None:
    out = tmp_path / "thermostat"
    assert run_example("examples/own_environment.py", str(out)).startswith("ok: ")
    iterations = json.loads((out / "results.json").read_text(encoding="utf-8"))["experiments"][0]["iterations"]
    first, last = iterations[0]["episode_return_mean"], iterations[-1]["episode_return_mean"]
    assert last > 0.5 * first  # returns are negative: it learnt to hold the temperature
    assert set(iterations[0]["metrics"]) <= explained("docs/metrics.md")
    played = float(run_example("examples/use_policy.py", str(out)).removeprefix("return "))
    assert played > 0.5 * first


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "cartpole",
        "halfcheetah-16envs",
        "halfcheetah-a2c",
        "halfcheetah-a3c",
        "halfcheetah-impala",
        "images",
    ],
)
def test_the_configs_train(name: str, tmp_path: Path) -> None:
    from paceline.training.resolve import resolve_spec

    out = tmp_path / name
    run_example("-m", "paceline", "train", "--config", f"configs/{name}.yaml", "--total-steps", "1", "--out", str(out))
    run = result.parse_results((out / "results.json").read_text(encoding="utf-8"), source=name).experiments[0]
    assert (run.outcome, len(run.iterations)) == ("ok", 1)
    spec = build_spec(RunSpec, load_yaml(ROOT / "configs" / f"{name}.yaml"))
    assert run.iterations[0].num_env_steps == resolve_spec(spec).algo.steps_per_iteration
