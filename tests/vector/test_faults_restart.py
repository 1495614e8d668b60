"""``on_fault="restart"``: the broken environment alone is replaced, its row says so, and nothing else changes.

Every row of every environment is compared with what a loop over plain environments gives.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline import make_vec
from paceline.envs.synthetic import SpacesEnv
from paceline.errors import EnvContractError, EnvRaisedError, RunnerDiedError
from paceline.vector import VecEnv
from paceline.vector.faults import replacement_seed

pytestmark = pytest.mark.slow

FAKES = Path(__file__).parent / "fakes"
NUM_ENVS = 3
NUM_ROWS = 26
SEEDS = [10, 11, 12]
BROKEN = 1
MODES = list(AutoresetMode)
IN_STEP = ["raise", "nan", "nan-reward", "shape"]
IN_RESET = ["raise-in-reset", "nan-in-reset"]
KWARGS: dict[str, Any] = {"obs": "dict", "action": "discrete", "episode_length": 6, "info": "all"}


class Row(NamedTuple):
    observation: dict[str, Any]
    reward: float
    terminated: bool
    truncated: bool
    is_reset: bool
    restarted: bool
    final: dict[str, Any] | None


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FAKES))


def brittle(fault: str, at: int, env_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> VecEnv:
    given = {"fault": fault, "seed": SEEDS[BROKEN], "at": at, **KWARGS, **(env_kwargs or {})}
    venv: VecEnv = make_vec("brittle_env:BrittleEnv", NUM_ENVS, env_kwargs=given, on_fault="restart", **kwargs)
    return venv


def action_of(index: int, count: int) -> int:
    return 1 + (7 * index + 3 * count + count // 4) % 5


def expected_rows(index: int, mode: AutoresetMode, fault: str, at: int, new_seed: int) -> list[Row]:
    """Return the rows of one environment, stepped by itself, that breaks if it is the brittle one."""
    env = SpacesEnv(**KWARGS)
    observation = env.reset(seed=SEEDS[index])[0]
    is_old, over, rows, num_steps = index == BROKEN, False, [], 0

    def begin() -> Any:
        nonlocal env, is_old
        if is_old and num_steps >= at:  # it breaks in this reset, or has broken in the step before
            env, is_old = SpacesEnv(**KWARGS), False
            return env.reset(seed=new_seed)[0]
        return env.reset()[0]

    for count in range(NUM_ROWS):
        if over:
            observation, over = begin(), False
            if mode is AutoresetMode.NEXT_STEP:
                rows.append(Row(observation, 0.0, False, False, True, False, None))
                continue
        num_steps += 1
        if is_old and num_steps == at and fault in IN_STEP:
            row = Row(observation, 0.0, False, True, False, True, observation)
        else:
            observation, reward, terminated, truncated, _ = env.step(action_of(index, count))
            row = Row(observation, float(reward), terminated, truncated, False, False, observation)
        over = row.terminated or row.truncated
        if over and mode is AutoresetMode.SAME_STEP:
            observation, over = begin(), False
            row = row._replace(observation=observation)
        ended = row.terminated or row.truncated
        rows.append(row if ended and mode is AutoresetMode.SAME_STEP else row._replace(final=None))
    return rows


def drive(venv: VecEnv) -> list[list[Row]]:
    """Step until every environment has its rows; take batches as they come, reset what ``DISABLED`` leaves over."""
    venv.reset(seed=SEEDS)
    rows: list[list[Row]] = [[] for _ in range(NUM_ENVS)]
    sent = np.arange(NUM_ENVS)
    while any(len(row) < NUM_ROWS for row in rows):
        if len(sent):
            venv.send(np.array([action_of(int(i), len(rows[i])) for i in sent]), sent)
        batch, ids = venv.recv()
        over = np.zeros(NUM_ENVS, np.bool_)
        for k, i in enumerate(ids):
            ended = bool(batch.terminated[k] or batch.truncated[k])
            finals = batch.final_observations if ended and venv.autoreset_mode is AutoresetMode.SAME_STEP else None
            rows[i].append(
                Row(
                    pick(batch.observations, k), float(batch.rewards[k]), bool(batch.terminated[k]),
                    bool(batch.truncated[k]), bool(batch.reset_rows[k]), bool(batch.restarted[k]),
                    None if finals is None else pick(finals, k),
                )
            )  # fmt: skip
            over[i] = ended
        if venv.autoreset_mode is AutoresetMode.DISABLED and over.any():
            venv.reset(mask=over)
        sent = np.array([i for i in ids if len(rows[i]) < NUM_ROWS], np.int64)
    return rows


def pick(tree: dict[str, Any], k: int) -> dict[str, Any]:
    return {key: part[k].copy() for key, part in tree.items()}


def require_same(found: list[Row], expected: list[Row]) -> None:
    for count, (got, wanted) in enumerate(zip(found, expected, strict=True)):
        for name, one, other in zip(Row._fields, got, wanted, strict=True):
            np.testing.assert_equal(one, other, err_msg=f"row {count}: {name}")


def require_mended(venv: VecEnv, mode: AutoresetMode, fault: str, at: int) -> None:
    """Require all rows of all environments, and the account of the fault."""
    rows = drive(venv)
    new_seed = replacement_seed(SEEDS[BROKEN], 1)
    for index in range(NUM_ENVS):
        require_same(rows[index], expected_rows(index, mode, fault, at, new_seed))
    (told,) = venv.faults
    assert (told.env_index, told.seed, told.new_seed) == (BROKEN, SEEDS[BROKEN], new_seed)
    assert venv.env_seeds == (SEEDS[0], new_seed, SEEDS[2])
    assert venv.statistics().restarts == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", IN_STEP + IN_RESET)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(1, 14), backend=st.sampled_from(["serial", "thread"]), batch_size=st.sampled_from([1, 2, 3]))
def test_one_fault_changes_one_environment(
    fault: str, mode: AutoresetMode, at: int, backend: Any, batch_size: int
) -> None:
    runners = None if backend == "serial" else 2
    with closing(
        brittle(fault, at, backend=backend, num_env_runners=runners, autoreset_mode=mode, batch_size=batch_size)
    ) as venv:
        require_mended(venv, mode, fault, at)


@pytest.mark.parametrize("backend", ["shm", "pipe"])
@pytest.mark.parametrize(
    ("fault", "mode", "batch_size"),
    [
        ("raise", AutoresetMode.NEXT_STEP, 3),
        ("shape", AutoresetMode.SAME_STEP, 1),
        ("nan-in-reset", AutoresetMode.SAME_STEP, 3),
        ("raise-in-reset", AutoresetMode.NEXT_STEP, 2),
        ("nan", AutoresetMode.DISABLED, 2),
    ],
)
def test_one_fault_in_a_runner_changes_one_environment(
    backend: Any, fault: str, mode: AutoresetMode, batch_size: int
) -> None:
    at = 6 if fault == "shape" else 4  # the sixth step is the first episode's last
    with closing(
        brittle(fault, at, backend=backend, num_env_runners=2, autoreset_mode=mode, batch_size=batch_size)
    ) as venv:
        pids = venv.runner_pids()
        require_mended(venv, mode, fault, at)
        assert venv.runner_pids() == pids, "the runner goes on"


@pytest.mark.parametrize("backend", ["shm", "pipe"])
@pytest.mark.parametrize("fault", ["kill", "kill-in-reset"])
@pytest.mark.parametrize(
    ("mode", "batch_size"), [(AutoresetMode.NEXT_STEP, 3), (AutoresetMode.SAME_STEP, 3), (AutoresetMode.NEXT_STEP, 1)]
)
def test_a_killed_runner_is_replaced_with_its_environments_alone(
    backend: Any, fault: str, mode: AutoresetMode, batch_size: int
) -> None:
    """Environments 0 and 1 share a runner, which environment 1 kills; environment 2 has its own."""
    at = 4
    with closing(
        brittle(fault, at, backend=backend, num_env_runners=2, autoreset_mode=mode, batch_size=batch_size)
    ) as venv:
        pids = venv.runner_pids()
        rows = drive(venv)
        new_pids = venv.runner_pids()
        seeds = venv.env_seeds
        (told,) = venv.faults
        assert venv.statistics().restarts == 2, "one fault, by which both environments of the runner were replaced"
    assert new_pids[0] != pids[0] and new_pids[1] == pids[1]
    require_same(rows[2], expected_rows(2, mode, fault, at, 0))
    assert (told.kind, told.env_index, told.seed, told.new_seed) == ("RunnerDiedError", BROKEN, 11, seeds[BROKEN])
    assert "SIGKILL" in told.message and len({*seeds, *SEEDS}) == 5
    for index in (0, 1):
        (at_row,) = [count for count, row in enumerate(rows[index]) if row.restarted]
        before = healthy_rows(index, SEEDS[index], mode, 0, NUM_ROWS)
        require_same(rows[index][:at_row], before[:at_row])
        row, last = rows[index][at_row], rows[index][at_row - 1].observation
        assert (row.reward, row.terminated, row.truncated, row.is_reset) == (0.0, False, True, False)
        stands_in = row.final or row.observation
        if index == BROKEN:
            np.testing.assert_equal(stands_in, last)
        else:  # it may have been stepped before its neighbour killed the runner
            assert any(same(stands_in, other) for other in (last, before[at_row].final or before[at_row].observation))
        seed = seeds[index]
        assert seed is not None
        after = healthy_rows(index, seed, mode, at_row + 1, NUM_ROWS, begun=mode is AutoresetMode.SAME_STEP)
        require_same(rows[index][at_row + 1 :], after)


def healthy_rows(index: int, seed: int, mode: AutoresetMode, first: int, last: int, *, begun: bool = True) -> list[Row]:
    """Return rows ``first`` to ``last`` of an environment that has just begun, or begins in a row of its own."""
    env = SpacesEnv(**KWARGS)
    observation, rows, over = env.reset(seed=seed)[0], [], False
    if not begun:
        rows.append(Row(observation, 0.0, False, False, True, False, None))
    for count in range(first + len(rows), last):
        if over and mode is AutoresetMode.NEXT_STEP:
            rows.append(Row(env.reset()[0], 0.0, False, False, True, False, None))
            over = False
            continue
        observation, reward, terminated, truncated, _ = env.step(action_of(index, count))
        over = terminated or truncated
        row = Row(observation, float(reward), terminated, truncated, False, False, None)
        if over and mode is AutoresetMode.SAME_STEP:
            row = row._replace(observation=env.reset()[0], final=observation)
        rows.append(row)
    return rows


def same(one: Any, other: Any) -> bool:
    try:
        np.testing.assert_equal(one, other)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("backend", ["serial", "thread", "shm", "pipe"])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_an_environment_that_breaks_again_and_again_ends_at_the_cap(backend: Any, mode: AutoresetMode) -> None:
    """Each life lasts two steps; ``max_restarts`` 3 lives are replaced, the fourth's fault is raised."""
    runners = None if backend == "serial" else 1
    venv = make_vec(
        "synthetic:faulty?at=2", 1, backend=backend, num_env_runners=runners, autoreset_mode=mode,
        on_fault="restart", max_restarts=3,
    )  # fmt: skip
    venv.reset(seed=[5])
    restarted = []
    with pytest.raises(EnvRaisedError, match=r"after 3 restarts \(max_restarts 3\)") as caught:
        for _ in range(50):
            *_, infos = venv.step(np.zeros(1, np.int64))
            restarted.append(bool(infos.get("restarted", [False])[0]))
    lives = [replacement_seed(5, 1)]
    for life in (2, 3):
        lives.append(replacement_seed(lives[-1], life))
    assert sum(restarted) == 3 and venv.statistics().restarts == 3
    assert [fault.seed for fault in venv.faults] == [5, *lives[:2]]
    assert [fault.new_seed for fault in venv.faults] == lives and venv.env_seeds == (lives[-1],)
    assert (caught.value.env_index, caught.value.seed, caught.value.action) == (0, lives[-1], 0)
    venv.close()


@pytest.mark.parametrize("backend", ["serial", "shm"])
def test_an_environment_that_never_begins_ends_at_the_cap(backend: Any) -> None:
    """Every replacement fails in its first reset, too: the caller is told in one call."""
    runners = 1 if backend == "shm" else None
    env = "synthetic:faulty?fault=raise-in-reset"
    venv = make_vec(env, 2, backend=backend, num_env_runners=runners, on_fault="restart", max_restarts=4)
    with pytest.raises(EnvRaisedError, match=r"fails to reset .* after 4 restarts"):
        venv.reset(seed=0)
    assert len(venv.faults) == 4
    venv.close()


def test_a_runner_that_never_survives_a_reset_ends_at_the_cap() -> None:
    env = "synthetic:faulty?fault=exit-in-reset"
    venv = make_vec(env, 2, backend="shm", num_env_runners=2, on_fault="restart", max_restarts=2)
    with pytest.raises(RunnerDiedError, match=r"exited with status 7.* after 2 restarts"):
        venv.reset(seed=0)
    assert venv.runner_pids() and [fault.kind for fault in venv.faults] == ["RunnerDiedError"] * 2
    venv.close()


@pytest.mark.parametrize("backend", ["serial", "thread", "shm", "pipe"])
def test_a_fault_in_the_callers_own_reset_is_mended(backend: Any) -> None:
    """The others begin from the seeds that were asked for."""
    runners = None if backend == "serial" else 2
    env = "synthetic:faulty?fault=raise-in-reset&only_seed=11"
    with closing(make_vec(env, 3, backend=backend, num_env_runners=runners, on_fault="restart")) as venv:
        observations, _ = venv.reset(seed=SEEDS)
        new_seed = replacement_seed(11, 1)
        assert venv.env_seeds == (10, new_seed, 12)
        np.testing.assert_array_equal(observations, [[0, 0, 10], [0, 0, new_seed % 1000], [0, 0, 12]])
        _, rewards, _, truncated, infos = venv.step(np.zeros(3, np.int64))
        assert rewards.tolist() == [1, 1, 1] and not truncated.any() and "restarted" not in infos
        assert venv.statistics().restarts == 1, "replaced, though no row says so: the step did happen"


@pytest.mark.parametrize("backend", ["shm", "pipe"])
def test_a_runner_that_dies_in_the_callers_own_reset_is_replaced(backend: Any) -> None:
    env = "synthetic:faulty?fault=exit-in-reset&only_seed=11"
    with closing(make_vec(env, 3, backend=backend, num_env_runners=2, on_fault="restart")) as venv:
        observations, _ = venv.reset(seed=SEEDS)
        (told,) = venv.faults
        assert (told.env_index, told.kind, told.seed) == (1, "RunnerDiedError", 11)
        assert venv.statistics().restarts == 2
        assert venv.env_seeds == (10, told.new_seed, 12), "its neighbour keeps the seed that was asked for"
        np.testing.assert_array_equal(observations[:, 2], [10, told.new_seed % 1000, 12])
        *_, truncated, infos = venv.step(np.zeros(3, np.int64))
        assert not truncated.any() and "restarted" not in infos


@pytest.mark.parametrize("backend", ["serial", "thread", "shm"])
def test_a_replacement_that_cannot_be_built_is_told(backend: Any, tmp_path: Path) -> None:
    runners = None if backend == "serial" else 2
    flag = tmp_path / "no more"
    venv = brittle("raise", 2, backend=backend, num_env_runners=runners, env_kwargs={"flag": str(flag)})
    venv.reset(seed=SEEDS)
    flag.touch()
    with pytest.raises(EnvRaisedError, match=r"the licence has run out.*broken on purpose") as caught:
        for _ in range(3):
            venv.step(np.ones(NUM_ENVS, np.int64))
    assert (caught.value.env_index, caught.value.seed) == (BROKEN, SEEDS[BROKEN])
    venv.close()


def test_a_replacement_of_a_runner_that_cannot_be_built_is_told(tmp_path: Path) -> None:
    flag = tmp_path / "no more"
    venv = brittle("kill", 2, backend="shm", num_env_runners=2, env_kwargs={"flag": str(flag)})
    venv.reset(seed=SEEDS)
    flag.touch()
    with pytest.raises(EnvRaisedError, match="the licence has run out"):
        for _ in range(3):
            venv.step(np.ones(NUM_ENVS, np.int64))
    venv.close()


def test_a_replacement_with_other_spaces_is_refused() -> None:
    built: list[SpacesEnv] = []

    def build() -> SpacesEnv:
        built.append(SpacesEnv(obs="box" if len(built) < 2 else "discrete"))
        built[-1].step = fail  # type: ignore[method-assign]
        return built[-1]

    def fail(action: Any) -> Any:
        raise RuntimeError("broken on purpose")

    venv = make_vec(build, 2, backend="serial", on_fault="restart")
    venv.reset(seed=0)
    with pytest.raises(EnvContractError, match=r"expected the replacement .* Box.* got Discrete") as caught:
        venv.step(np.ones(2, np.int64))
    assert caught.value.env_index == 0
    venv.close()


def test_infos_tell_of_the_environment_that_is_there() -> None:
    """In ``SAME_STEP`` mode the end of the old episode and the beginning of the new one."""
    same_step = AutoresetMode.SAME_STEP
    with closing(brittle("raise-in-reset", 4, backend="serial", autoreset_mode=same_step)) as venv:
        venv.reset(seed=SEEDS)
        for count in range(20):
            *_, terminated, truncated, infos = venv.step(np.array([action_of(i, count) for i in range(NUM_ENVS)]))
            if venv.faults:
                break
        assert terminated[BROKEN] or truncated[BROKEN], "the step that ended the episode did happen"
        assert infos["final_info"]["step"][BROKEN] >= 3 and infos["_final_info"][BROKEN]
        assert infos["episode_number"][BROKEN] == 0, "of the environment in its place"
        assert "restarted" not in infos
    with closing(brittle("nan-reward", 2, backend="serial", autoreset_mode=same_step)) as venv:
        venv.reset(seed=SEEDS)
        for _ in range(2):
            *_, infos = venv.step(np.ones(NUM_ENVS, np.int64))
        assert infos["restarted"].tolist() == infos["_restarted"].tolist() == [False, True, False]
        assert infos["step"].tolist() == [2, 0, 2], "of a step that did not happen nothing is told"


@pytest.mark.parametrize("backend", ["serial", "shm"])
def test_infinity_is_no_fault_and_warns_nobody(backend: Any) -> None:
    runners = 1 if backend == "shm" else None
    env = "synthetic:faulty?fault=inf-reward&at=2"
    with closing(make_vec(env, 1, backend=backend, num_env_runners=runners, on_fault="restart")) as venv:
        venv.reset(seed=0)
        rewards = [venv.step(np.zeros(1, np.int64))[1][0] for _ in range(3)]
        assert rewards == [1, np.inf, 1] and not venv.faults


def test_seeds_of_replacements_differ_and_recur() -> None:
    known = {replacement_seed(seed, life, i) for seed in (None, 0, 1) for life in (1, 2) for i in (0, 1)}
    assert len(known) == 2 * 2 + 2 * 2, "environments without a seed are told apart by their index, others by the seed"
    assert all(0 <= seed < 2**31 for seed in known)
    assert replacement_seed(3, 1) == replacement_seed(3, 1, 5)
