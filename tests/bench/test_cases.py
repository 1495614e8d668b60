from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from made_bench import PROFILE

from paceline.bench.cases import Case, expected_bytes, expected_window_s, group_cases, plan_cases
from paceline.bench.spec import BenchSpec


def spec(**fields: object) -> BenchSpec:
    return BenchSpec.model_validate({"env": {"id": "X-v0"}, **fields})


def test_every_size_has_its_ceilings_and_never_more_runners_than_environments() -> None:
    cases = plan_cases(spec(backends=("serial", "shm"), num_envs=(1, 8)), whole_cores=4)
    assert [(case.name, case.num_env_runners) for case in cases] == [
        ("loop@1", 0), ("free-running@1", 1), ("serial@1", 0), ("shm@1", 1),
        ("loop@8", 0), ("free-running@8", 4), ("serial@8", 0), ("shm@8", 4),
    ]  # fmt: skip
    more = plan_cases(spec(backends=("shm",), num_envs=(8, 64), num_env_runners=16), whole_cores=4)
    assert [case.num_env_runners for case in more if not case.is_ceiling] == [8, 16]


def test_native_code_has_no_more_threads_than_it_makes_use_of() -> None:
    asked = spec(backends=("shm", "native", "serial"), num_envs=(8,))
    for most, expected in ((None, 4), (1, 1), (16, 4)):
        runners = {case.backend: case.num_env_runners for case in plan_cases(asked, 4, most)}
        assert (runners["native"], runners["shm"], runners["serial"]) == (expected, 4, 0)


def test_where_runners_do_not_divide_the_environments_the_total_is_told() -> None:
    config = Case("shm", 20, 3).config
    assert (config.num_env_runners, config.num_envs_per_env_runner, config.total_envs) == (3, 7, 20)


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from(["serial", "pipe", "shm", "thread", "native"]), min_size=1, max_size=5, unique=True),
    st.integers(1, 2000),
    st.integers(2, 200),
    st.integers(1, 16),
)
def test_groups_hold_every_case_once_and_no_more_than_the_machine_bears(
    sizes: list[int], backends: list[str], most_bytes: int, most_processes: int, cores: int
) -> None:
    cases = plan_cases(spec(backends=tuple(backends), num_envs=tuple(sizes)), whole_cores=cores)
    groups = group_cases(cases, lambda case: float(case.num_envs), most_bytes=most_bytes, most_processes=most_processes)
    assert [case for group in groups for case in group] == cases

    def fits(group: list[Case]) -> bool:
        return (
            sum(case.num_envs for case in group) <= most_bytes
            and sum(case.num_processes for case in group) <= most_processes
        )

    assert all(fits(group) or len(group) == 1 for group in groups)
    for size in sizes:
        together = [case for case in cases if case.num_envs == size]
        if fits(together):  # those that are compared are alive at the same time
            assert sum(any(case in group for case in together) for group in groups) == 1


def test_runner_processes_are_expected_to_cost_memory_and_threads_are_not() -> None:
    one = expected_bytes(Case("serial", 100, 0), PROFILE)
    assert expected_bytes(Case("thread", 100, 4), PROFILE) == one == 40e6 + 100e6
    assert expected_bytes(Case("shm", 100, 4), PROFILE) == 5 * 40e6 + 100e6


def test_a_window_of_a_slow_environment_is_expected_to_be_longer() -> None:
    slow = PROFILE.model_copy(update={"step": PROFILE.step.model_copy(update={"mean_s": 0.01})})
    assert expected_window_s(Case("serial", 1, 0), PROFILE, 0.3) == 0.3
    assert expected_window_s(Case("serial", 4, 0), slow, 0.3) == 20 * 0.04
    assert expected_window_s(Case("serial", 10, 0), slow, 0.3) == 3 * 0.3
    assert expected_window_s(Case("serial", 200, 0), slow, 0.3) == 2.0
    assert expected_window_s(Case("shm", 200, 2), slow, 0.3) == 1.0
