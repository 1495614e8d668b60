"""Which cases a bench has, and which of them may be alive at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from paceline.bench.spec import BenchSpec
from paceline.measure.bench_result import FREE_RUNNING, LOOP, BenchConfig, EnvProfile

RUN_CASE = "paceline.bench.child:run_case"
PROFILE = "paceline.bench.child:profile_env"
"""What a case's process, and the one that looks at a single environment, run."""

CEILINGS = (FREE_RUNNING, LOOP)
IN_PROCESS = ("serial", "thread", "native", LOOP)
"""Executions that start no processes."""

MEMORY_SHARE = 0.5
"""Share of the memory available at the start that cases alive at once may be expected to hold."""
MIN_BATCHES = 20
"""A window lasts longer than asked for where it would hold fewer batches than these .."""
PATIENCE = 3.0
""".. but at most so many times as long."""


@dataclass(frozen=True)
class Case:
    """One execution of N environments.

    Attributes:
        backend: a backend, or one of :data:`CEILINGS`.
        num_envs: N.
        num_env_runners: R; 0: in the case's own process, one environment after the other. Of ``auto`` the R that is
            expected until it has chosen.
    """

    backend: str
    num_envs: int
    num_env_runners: int

    @property
    def name(self) -> str:
        """Its name in files and on the screen: ``shm@32``."""
        return f"{self.backend}@{self.num_envs}"

    @property
    def is_ceiling(self) -> bool:
        """Whether it is what vector environments are held against, not one of them."""
        return self.backend in CEILINGS

    @property
    def num_processes(self) -> int:
        """Processes that it takes: its own, its guard's, its runners'."""
        return 2 + (0 if self.backend in IN_PROCESS else self.num_env_runners + 1)

    @property
    def config(self) -> BenchConfig:
        """Its place in the results; where R does not divide N, the largest share is told."""
        return BenchConfig(
            backend=self.backend,
            num_env_runners=self.num_env_runners,
            num_envs_per_env_runner=-(-self.num_envs // max(self.num_env_runners, 1)),
            total_envs=self.num_envs,
        )


def plan_cases(spec: BenchSpec, whole_cores: int, native_threads: int | None = None) -> list[Case]:
    """Return the cases in order of size; of each size first what the others are held against.

    Args:
        spec: what to measure.
        whole_cores: processes that can be busy at once, R where the spec leaves it open.
        native_threads: the most that native code makes use of; None: any number.
    """
    limits = {"serial": 0} if native_threads is None else {"serial": 0, "native": native_threads}
    cases = []
    for num_envs in spec.num_envs:
        runners = min(spec.num_env_runners or whole_cores, num_envs)
        cases += [Case(LOOP, num_envs, 0), Case(FREE_RUNNING, num_envs, runners)]
        cases += [Case(name, num_envs, min(runners, limits.get(name, runners))) for name in spec.backends]
    return cases


def expected_bytes(case: Case, profile: EnvProfile) -> float:
    """Return the memory that ``case`` will hold, as far as one environment by itself tells."""
    processes = 1 if case.backend in IN_PROCESS else 1 + case.num_env_runners
    return processes * profile.first_env_bytes + case.num_envs * profile.bytes_per_env


def expected_window_s(case: Case, profile: EnvProfile, seconds: float) -> float:
    """Return about how long a window of ``case`` takes: ``seconds``, or longer for an environment that is slow."""
    batch_s = profile.step.mean_s * case.num_envs / max(case.num_env_runners, 1)
    return max(seconds, batch_s, min(MIN_BATCHES * batch_s, PATIENCE * seconds))


def group_cases(
    cases: Iterable[Case], size_of: Callable[[Case], float], *, most_bytes: float, most_processes: int
) -> list[list[Case]]:
    """Divide the cases into groups whose members are alive, and take turns, at the same time.

    Cases of one size stay together, since it is they that are compared; groups take in as many sizes as the machine
    bears. One size that is too much by itself is split, each part within the limits as far as it can be.

    Args:
        cases: in order of size.
        size_of: expected bytes of a case.
        most_bytes: of the cases of a group together.
        most_processes: likewise.
    """

    def fits(group: Sequence[Case]) -> bool:
        return (
            sum(size_of(case) for case in group) <= most_bytes
            and sum(case.num_processes for case in group) <= most_processes
        )

    by_size: dict[int, list[Case]] = {}
    for case in cases:
        by_size.setdefault(case.num_envs, []).append(case)
    groups: list[list[Case]] = []
    for together in by_size.values():
        parts = [together] if fits(together) else [[case] for case in together]
        for number, part in enumerate(parts):
            # Parts of a split size join each other, never another size: that would only take room from their peers.
            may_join = groups and (number > 0 or (len(parts) == 1 and not _is_split(groups[-1], by_size)))
            if may_join and fits([*groups[-1], *part]):
                groups[-1].extend(part)
            else:
                groups.append(list(part))
    return groups


def _is_split(group: Sequence[Case], by_size: dict[int, list[Case]]) -> bool:
    last = group[-1].num_envs
    return any(case not in group for case in by_size[last])
