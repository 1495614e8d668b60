"""Specs: the same in YAML and JSON, every rule enforced, and unknown keys answered with the nearest known one."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paceline.errors import PlanError, SpecError
from paceline.spec import (
    ALGORITHMS,
    A2CSpec,
    A3CSpec,
    AlgoName,
    Backend,
    Budget,
    EnvSpec,
    ImpalaSpec,
    Inference,
    NetworkSpec,
    Plan,
    PPOSpec,
    RunSpec,
    Schedule,
    Spec,
    SweepSpec,
    build_spec,
    common_batch_size,
    dump_yaml,
    load_yaml,
    merge_fields,
    parse_value,
    set_field,
)

RUN = RunSpec(env=EnvSpec(id="CartPole-v1"))

plans = st.builds(
    Plan,
    backend=st.just("auto"),
    num_env_runners=st.integers(0, 64),
    num_envs_per_env_runner=st.integers(1, 64),
    learner_threads=st.none() | st.integers(1, 64),
    runner_threads=st.integers(1, 8),
    pin_cores=st.booleans(),
    device=st.sampled_from(["auto", "cpu", "gpu"]),
)
common = {
    "batch_size": st.sampled_from([None, 64, 1024]),
    "updates_per_iteration": st.none() | st.integers(1, 64),
    "learning_rate": st.none() | st.floats(1e-8, 1.0),
    "gamma": st.floats(0.01, 1.0),
    "ent_coef": st.none() | st.floats(0.0, 1.0),
    "normalize_rewards": st.none() | st.booleans(),
    "network": st.builds(NetworkSpec, hidden_sizes=st.lists(st.integers(1, 512), max_size=4).map(tuple)),
}
optimizers = {
    "optimizer": st.sampled_from(["adam", "rmsprop"]),
    "optimizer_eps": st.floats(1e-10, 1.0),
    "rmsprop_decay": st.floats(0.01, 0.99),
}
ppos = st.builds(
    PPOSpec,
    minibatch_size=st.sampled_from([None, 32, 64]),
    num_epochs=st.none() | st.integers(1, 20),
    gae_lambda=st.floats(0.0, 1.0),
    **common,
)
n_steps = {"gae_lambda": st.floats(0.0, 1.0), "normalize_advantages": st.booleans(), **optimizers, **common}
impalas = st.builds(
    ImpalaSpec,
    rollout_length=st.integers(1, 100),
    rho_bar=st.floats(0.1, 10.0),
    c_bar=st.floats(0.1, 10.0),
    vtrace_lambda=st.floats(0.0, 1.0),
    **optimizers,
    **common,
)
algos = st.one_of(ppos, st.builds(A2CSpec, **n_steps), st.builds(A3CSpec, **n_steps), impalas)
budgets = st.one_of(
    st.builds(Budget, total_steps=st.integers(1, 10**12)),
    st.builds(Budget, minutes=st.floats(1e-3, 1e5)),
    st.builds(Budget, iterations=st.integers(1, 10**6)),
)
# YAML has no words for control characters and lone surrogates; keyword arguments come from YAML or the command line
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
kwargs = st.dictionaries(words, st.none() | st.booleans() | numbers | words | st.lists(numbers), max_size=4)
runs = st.builds(
    RunSpec,
    env=st.builds(EnvSpec, id=words.filter(bool), kwargs=kwargs),
    algo=algos,
    plan=plans,
    budget=budgets,
    seed=st.integers(0, 2**31 - 1),
)


@settings(max_examples=40, deadline=None)
@given(runs)
def test_yaml_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, spec: RunSpec) -> None:
    path = tmp_path_factory.getbasetemp() / "spec.yaml"
    path.write_text(dump_yaml(spec), encoding="utf-8")
    assert build_spec(RunSpec, load_yaml(path)) == spec


@settings(deadline=None)
@given(runs)
def test_json_reads_back_equal(spec: RunSpec) -> None:
    assert build_spec(RunSpec, json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


def test_a_sweep_reads_back_equal(tmp_path: Path) -> None:
    sweep = SweepSpec(base=RUN, axes={"plan.num_env_runners": (0, 1), "algo.learning_rate": (1e-4, 3e-4)}, repeats=2)
    path = tmp_path / "spec.yaml"
    path.write_text(dump_yaml(sweep))
    assert build_spec(SweepSpec, load_yaml(path)) == sweep


def test_a_minimal_file_is_enough() -> None:
    assert build_spec(RunSpec, {"env": {"id": "CartPole-v1"}}) == RUN


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_is_told_by_its_name_and_reads_back_from_yaml(name: str, tmp_path: Path) -> None:
    spec = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": {"name": name, "gamma": 0.5}})
    assert type(spec.algo) is ALGORITHMS[name]
    assert spec.algo == ALGORITHMS[name](gamma=0.5)
    path = tmp_path / "spec.yaml"
    path.write_text(dump_yaml(spec))
    assert build_spec(RunSpec, load_yaml(path)) == spec
    # A spec that is already built may be handed in as well, and copied with another field.
    assert RunSpec(env=spec.env, algo=spec.algo) == spec
    assert spec.model_copy(update={"seed": 1}).algo == spec.algo


def test_an_algorithm_without_a_name_is_ppo() -> None:
    spec = build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, "algo": {"num_epochs": 3}})
    assert spec.algo == PPOSpec(num_epochs=3)
    assert RUN.algo == PPOSpec()


def test_every_algorithm_has_a_name_of_its_own() -> None:
    assert {name: cls().name for name, cls in ALGORITHMS.items()} == {name: name for name in get_args(AlgoName)}
    assert len(set(ALGORITHMS.values())) == len(ALGORITHMS)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [({}, 0), ({"batch_size": 64}, 64), ({"batch_size": 64, "updates_per_iteration": 8}, 512)],
)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_iteration_is_all_its_updates(name: str, fields: dict[str, int], steps: int) -> None:
    assert ALGORITHMS[name](**fields).steps_per_iteration == steps


def test_tuples_among_the_keyword_arguments_become_lists() -> None:
    spec = EnvSpec(id="x", kwargs={"size": (64, 64), "deep": {1: (2,)}})
    assert spec.kwargs == {"size": [64, 64], "deep": {"1": [2]}}
    assert build_spec(EnvSpec, spec.model_dump(mode="json")) == spec


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RUN.seed = 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"algo": {"num_epoch": 3}}, r"unknown key 'algo.num_epoch'; did you mean 'num_epochs'\?"),
        ({"plann": {}}, r"unknown key 'plann'; did you mean 'plan'\?"),
        ({"plan": {"zzz": 1}}, "unknown key 'plan.zzz'; known keys are backend, num_env_runners"),
        ({"algo": {"network": {"hidden_size": [1]}}}, r"'algo.network.hidden_size'; did you mean 'hidden_sizes'\?"),
        ({"algo": {"network": {"hidden_sizes": [64, 0]}}}, "algo.network.hidden_sizes.1: .*greater than 0, got 0"),
        ({"env": {}}, "key 'env.id' is missing; add it"),
        ({"env": {"id": ""}}, "env.id: .*at least 1 character"),
        ({"env": "CartPole-v1"}, 'env: .*, got "CartPole-v1"'),
        ({"env": {"id": "x", "kwargs": {"a": math.inf}}}, "env.kwargs: a: expected plain data .*got inf"),
        ({"env": {"id": "x", "kwargs": {"a": {"b": [len]}}}}, "env.kwargs: a.b: expected plain data .*as a callable"),
        ({"seed": -1}, "seed: .*greater than or equal to 0, got -1"),
        ({"seed": 2**31}, "seed: .*less than 2147483648"),
        ({"algo": {"gamma": 1.5}}, "algo.gamma: .*less than or equal to 1, got 1.5"),
        ({"algo": {"gamma": 0}}, "algo.gamma: .*greater than 0"),
        ({"algo": {"gae_lambda": -0.1}}, "algo.gae_lambda: .*greater than or equal to 0"),
        ({"algo": {"learning_rate": math.nan}}, "algo.learning_rate: .*finite"),
        ({"algo": {"learning_rate": math.inf}}, "algo.learning_rate: .*finite"),
        ({"algo": {"batch_size": 0}}, "algo.batch_size: .*greater than 0"),
        ({"algo": {"batch_size": 2.5}}, "algo.batch_size: .*integer"),
        ({"algo": {"num_epochs": "many"}}, 'algo.num_epochs: .*integer.*, got "many"'),
        ({"algo": {"name": "dqn"}}, 'algo.name: expected ppo, a2c, a3c or impala, got "dqn"; use one of them'),
        ({"algo": {"name": "impalla"}}, r"algo.name: expected .*, got \"impalla\"; did you mean 'impala'\?"),
        ({"algo": {"name": "a2c", "vtrace_lambda": 1}}, r"'algo.vtrace_lambda'; did you mean 'gae_lambda'\?"),
        ({"algo": {"name": "impala", "vtrace_lamda": 1}}, r"'algo.vtrace_lamda'; did you mean 'vtrace_lambda'\?"),
        ({"algo": {"name": "a2c", "num_epochs": 3}}, "unknown key 'algo.num_epochs'; "),
        ({"algo": {"name": "a3c", "rmsprop_deca": 3}}, r"'algo.rmsprop_deca'; did you mean 'rmsprop_decay'\?"),
        ({"algo": {"name": "a2c", "network": {"torsoo": "mlp"}}}, r"'algo.network.torsoo'; did you mean 'torso'\?"),
        ({"algo": {"name": "impala", "rho_bar": 0}}, "my.yaml: algo.rho_bar: .*greater than 0, got 0"),
        ({"algo": {"name": "impala", "rollout_length": 0}}, "algo.rollout_length: .*greater than 0, got 0"),
        ({"algo": {"name": "a2c", "rmsprop_decay": 1}}, "algo.rmsprop_decay: .*less than 1, got 1"),
        ({"algo": {"name": "a3c", "optimizer": "sgd"}}, "algo.optimizer: expected 'adam' or 'rmsprop', got \"sgd\""),
        ({"algo": {"updates_per_iteration": 0}}, "algo.updates_per_iteration: .*greater than 0, got 0"),
        ({"algo": "a2c"}, 'algo: .*, got "a2c"'),
        ({"plan": {"backend": "carrier-pigeon"}}, "plan.backend: .*'serial'.*'shm'"),
        ({"plan": {"num_env_runners": -1}}, "plan.num_env_runners: .*greater than or equal to 0"),
        ({"plan": {"num_envs_per_env_runner": 0}}, "plan.num_envs_per_env_runner: .*greater than or equal to 1"),
        ({"plan": {"learner_threads": 0}}, "plan.learner_threads: .*greater than or equal to 1"),
        ({"checkpoint_every_s": 0}, "checkpoint_every_s: .*greater than 0"),
        (
            {"algo": {"batch_size": 100, "minibatch_size": 30}},
            "algo: batch_size 100 is not a multiple of minibatch_size 30; choose a minibatch_size that divides it",
        ),
        (
            {"plan": {"backend": "serial", "num_env_runners": 2}},
            "plan: backend serial .*got num_env_runners 2; use num_env_runners 0, or backend shm",
        ),
        ({"plan": {"backend": "shm"}}, "plan: backend shm needs at least one runner process, got num_env_runners 0"),
        ({"plan": {"inference": "runner"}}, "plan: inference runner needs at least one runner process, got num_env_ru"),
        ({"plan": {"schedule": "async"}}, "plan: schedule async needs at least one runner process, got num_env_runn"),
        ({"plan": {"schedule": "pipelined"}}, "plan: schedule pipelined needs at least one runner process, got num_e"),
        (
            {"plan": {"num_env_runners": 2, "inference": "runner", "schedule": "pipelined"}},
            "plan: schedule pipelined .*got inference runner; use inference learner, or schedule sync",
        ),
        (
            {"plan": {"num_env_runners": 2, "inference": "learner", "schedule": "async"}},
            "plan: schedule async needs a policy in each runner, got inference learner; use inference runner or auto",
        ),
        (
            {"plan": {"num_env_runners": 2, "inference": "runner", "backend": "pipe"}},
            "plan: with the policy in the runners, .*got backend pipe; use backend auto",
        ),
        (
            {"plan": {"num_env_runners": 2, "schedule": "async", "backend": "native"}},
            "plan: with the policy in the runners, .*got backend native; use backend auto",
        ),
        (
            {"plan": {"num_env_runners": 1, "num_envs_per_env_runner": 1, "schedule": "pipelined"}},
            "plan: schedule pipelined needs two environments or more, got 1; use schedule sync",
        ),
        ({"budget": {}}, "budget: expected exactly one of total_steps, minutes and iterations, got none"),
        ({"budget": {"minutes": 1, "iterations": 2}}, "budget: expected exactly one .*got minutes and iterations"),
        ({"budget": {"minutes": 0}}, "budget.minutes: .*greater than 0"),
    ],
)
def test_every_rule_is_one_sentence_that_names_the_key(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        build_spec(RunSpec, {"env": {"id": "CartPole-v1"}, **data}, source="my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"axes": {"plan.num_env_runners": ()}}, "axis plan.num_env_runners has no values; give at least one"),
        ({"axes": {"seed": (1, 2, 1)}}, r"axis seed names a value twice: \[1, 2, 1\]"),
        ({"axes": {}, "iterations": 0}, "iterations: .*greater than or equal to 1"),
        ({"axes": {}, "repeats": 0}, "repeats: .*greater than or equal to 1"),
        ({"axes": {}, "warmup_iterations": -1}, "warmup_iterations: .*greater than or equal to 0"),
        ({"axes": {}, "trial_timeout_s": 0}, "trial_timeout_s: .*greater than 0"),
        ({"axes": {}, "base": {"env": {"id": "x"}, "sed": 1}}, r"unknown key 'base.sed'; did you mean 'seed'\?"),
    ],
)
def test_every_rule_of_a_sweep(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build_spec(SweepSpec, {"base": {"env": {"id": "CartPole-v1"}}, **data})


@settings(deadline=None)
@given(plans)
def test_a_plan_counts_its_environments(plan: Plan) -> None:
    assert plan.num_envs == (plan.num_env_runners or 1) * plan.num_envs_per_env_runner
    assert plan.resolved_backend == ("shm" if plan.num_env_runners else "serial")
    assert plan.label == f"{plan.num_env_runners}x{plan.num_envs_per_env_runner}"


# Who acts and who waits.


def test_every_combination_of_a_plan_suits_an_algorithm_or_is_refused_in_one_sentence() -> None:
    outcomes = set()
    for backend, runners, envs, inference, schedule, name in itertools.product(
        get_args(Backend), (0, 1, 2), (1, 2), get_args(Inference), get_args(Schedule), ALGORITHMS
    ):
        fields = {
            "backend": backend,
            "num_env_runners": runners,
            "num_envs_per_env_runner": envs,
            "inference": inference,
            "schedule": schedule,
        }
        outcomes.add((name, assert_suits_or_is_refused(fields, name)))
    # Everything happens: refused as a plan, refused for the algorithm, and every way of running that it may take.
    ways = {
        "ppo": {"learner sync", "learner pipelined", "runner sync"},
        "a2c": {"learner sync", "learner pipelined", "runner sync"},
        "a3c": {"runner async"},
        "impala": {"learner sync", "learner pipelined", "runner sync", "runner async"},
    }
    refuses = {name: {"refused"} if name != "impala" else set() for name in ways}  # it can run in any valid plan
    assert outcomes == {(name, way) for name, some in ways.items() for way in {"no plan", *refuses[name], *some}}


def assert_suits_or_is_refused(fields: dict[str, Any], name: str) -> str:
    """Check what comes of a plan for an algorithm, and say in a word or two what it was."""
    try:
        plan = build_spec(Plan, fields)
    except SpecError as error:
        assert_one_sentence(str(error))
        return "no plan"
    try:
        filled = plan.for_algorithm(name)
    except PlanError as error:
        assert_one_sentence(str(error))
        assert str(error).startswith("expected ")
        return "refused"
    assert "auto" not in (filled.inference, filled.schedule)
    assert build_spec(Plan, filled.model_dump()) == filled  # still a plan, when its spec.yaml is read again
    assert filled.for_algorithm(name) == filled
    for field, value in fields.items():  # what was given stands
        assert getattr(filled, field) == value or (field in ("inference", "schedule") and value == "auto")
    if filled.inference == "runner":
        assert filled.num_env_runners > 0
        assert filled.resolved_backend == "shm"
    return f"{filled.inference} {filled.schedule}"


def assert_one_sentence(text: str) -> None:
    assert "\n" not in text
    assert ", got " in text
    assert re.search(r"; (use|leave) ", text), text


@pytest.mark.parametrize(
    ("name", "fields", "inference", "schedule"),
    [
        ("ppo", {}, "learner", "sync"),
        ("ppo", {"num_env_runners": 4}, "learner", "sync"),
        ("ppo", {"num_env_runners": 4, "inference": "runner"}, "runner", "sync"),
        ("a2c", {"num_env_runners": 4}, "learner", "sync"),
        ("a2c", {"num_env_runners": 4, "schedule": "pipelined"}, "learner", "pipelined"),
        ("a3c", {"num_env_runners": 1}, "runner", "async"),
        ("impala", {}, "learner", "sync"),
        ("impala", {"num_env_runners": 4}, "runner", "async"),
        ("impala", {"num_env_runners": 4, "inference": "learner"}, "learner", "sync"),
        ("impala", {"num_env_runners": 4, "schedule": "sync"}, "learner", "sync"),
        ("impala", {"num_env_runners": 4, "schedule": "sync", "backend": "pipe"}, "learner", "sync"),
    ],
)
def test_what_is_left_open_is_what_suits_the_algorithm(
    name: str, fields: dict[str, Any], inference: str, schedule: str
) -> None:
    plan = Plan(**fields).for_algorithm(name)
    assert (plan.inference, plan.schedule) == (inference, schedule)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("a3c", {}, "expected a runner process or more for a3c, got num_env_runners 0; use num_env_runners 1"),
        ("a3c", {"num_env_runners": 2, "schedule": "sync"}, "for a3c, got sync and learner; leave them out, or use a"),
        ("a3c", {"num_env_runners": 2, "inference": "learner"}, "for a3c, got async and learner; leave them out"),
        ("ppo", {"num_env_runners": 2, "schedule": "async"}, "corrects for lag .*got ppo; use algo impala or a3c"),
        ("a2c", {"num_env_runners": 2, "schedule": "async"}, "corrects for lag .*got a2c; use algo impala or a3c"),
        (
            "a3c",
            {"num_env_runners": 2, "backend": "pipe"},
            "backend auto for a3c .*got pipe; use backend auto$",
        ),
    ],
)
def test_an_algorithm_that_cannot_learn_in_this_way_says_what_would(
    name: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        Plan(**fields).for_algorithm(name)


def test_a_chosen_backend_stands() -> None:
    assert Plan(backend="shm", num_env_runners=1).resolved_backend == "shm"
    assert Plan(backend="serial").resolved_backend == "serial"


@settings(deadline=None)
@given(plans, st.integers(1, 10**6))
def test_rollout_length_fills_the_batch_or_is_refused_with_sizes_that_would(plan: Plan, batch_size: int) -> None:
    if batch_size % plan.num_envs == 0:
        assert plan.rollout_length(batch_size) * plan.num_envs == batch_size
        return
    with pytest.raises(PlanError, match=f"got {batch_size}; use batch_size") as caught:
        plan.rollout_length(batch_size)
    offered = str(caught.value).partition("use batch_size ")[2].partition(",")[0].split(" or ")
    for size in map(int, offered):
        assert plan.rollout_length(size) >= 1
        assert abs(size - batch_size) < plan.num_envs


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 4, 8, 16, 12]), min_size=1, max_size=5), st.integers(1, 8), st.integers(1, 10**5)
)
def test_common_batch_size_suits_everyone_or_is_refused(num_envs: list[int], minibatches: int, wanted: int) -> None:
    unit = math.lcm(*num_envs, minibatches)
    try:
        size = common_batch_size(wanted, num_envs, minibatches)
    except PlanError as error:
        assert unit > wanted
        assert f"--batch-size {unit}" in str(error)
        return
    assert size % minibatches == 0
    assert all(size % count == 0 for count in num_envs)
    assert wanted / 2 <= size <= wanted * 2
    assert abs(size - wanted) <= max(unit / 2, unit - wanted)


def test_common_batch_size_keeps_a_size_that_fits() -> None:
    assert common_batch_size(2048, [1, 4, 16], 32) == 2048


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("env: [1, 2\nplan: {", "broken YAML at line 2, column"),
        ("- a\n- b\n", r"expected a mapping of keys \(env, algo, plan, ..\), got list"),
        ("", "expected a mapping of keys .*, got NoneType"),
        (
            "!!python/object/apply:os.system ['true']",
            "broken YAML at line 1, column 1: could not determine a constructor",
        ),
        ("a: \x00", "broken YAML"),
    ],
)
def test_files_that_are_not_a_mapping(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        load_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file; give the path of a YAML file"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_yaml(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SpecError, match="cannot be read"):
        load_yaml(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("0.5", 0.5),
        ("7", 7),
        ("true", True),
        ("null", None),
        ("[64, 64]", [64, 64]),
        ("shm", "shm"),
        ("inf", "inf"),
        ("nan", "nan"),
        ("", None),
    ],
)
def test_command_line_values(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_broken_command_line_value() -> None:
    with pytest.raises(SpecError, match=r"cannot read the value '\[1'; write a number"):
        parse_value("[1")


def test_set_field_copies_and_reaches_inside() -> None:
    data = {"algo": {"gamma": 0.9, "network": {"torso": "mlp"}}, "seed": 0}
    assert set_field(data, "algo.network.torso", "cnn")["algo"] == {"gamma": 0.9, "network": {"torso": "cnn"}}
    assert set_field(data, "plan.device", "gpu")["plan"] == {"device": "gpu"}
    assert set_field(data, "seed", 3)["seed"] == 3
    assert data == {"algo": {"gamma": 0.9, "network": {"torso": "mlp"}}, "seed": 0}
    with pytest.raises(SpecError, match="seed is not a group of fields"):
        set_field(data, "seed.deeper", 1)


nested = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
mappings = st.dictionaries(st.sampled_from("abc"), nested, max_size=3)


@settings(deadline=None)
@given(mappings, mappings)
def test_merging_lets_the_override_win_and_keeps_the_rest(base: dict[str, Any], override: dict[str, Any]) -> None:
    merged = merge_fields(base, override)
    assert merge_fields(merged, override) == merged
    assert merged.keys() == base.keys() | override.keys()
    for key, value in override.items():
        if not isinstance(value, dict) or not isinstance(base.get(key), dict):
            assert merged[key] == value
    assert merge_fields(base, {}) == base
    assert merge_fields({}, override) == override


def test_every_spec_refuses_unknown_keys() -> None:
    for cls in (*Spec.__subclasses__(), *ALGORITHMS.values()):
        assert cls.model_config["extra"] == "forbid"
        assert cls.model_config["frozen"] is True


@pytest.mark.parametrize("text", ["2020-13-45", "[" * 3000])
def test_values_that_yaml_chokes_on_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(SpecError, match="cannot read the value"):
        parse_value(text)


@pytest.mark.parametrize(
    ("total", "planned"), [(150_000, 149_504), (1024, 1024), (1023, 1024), (1, 1024), (2048, 2048)]
)
def test_a_budget_of_steps_is_never_overrun_but_by_a_first_batch(total: int, planned: int) -> None:
    assert Budget(total_steps=total).planned_env_steps(1024) == planned


def test_other_budgets_plan_no_steps() -> None:
    assert Budget(minutes=1.0).planned_env_steps(1024) is None
