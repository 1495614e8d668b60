"""Everything a report says of a bench, as one frozen object: :func:`analyse_bench` makes it, ``report`` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paceline.analysis.crossover import (
    Contest,
    Crossing,
    Curve,
    Leaders,
    all_crossings,
    contests,
    joined,
    leader_sentences,
    leaders,
    paired_ratio,
    sizes_text,
)
from paceline.analysis.stats import Estimate, estimate_median, median, order
from paceline.measure.bench_result import AUTO, BENCH_PHASES, FREE_RUNNING, LOOP, BenchCase, BenchResults, EnvProfile
from paceline.measure.ledger import ENV_STEP, TRANSFER, UNATTRIBUTED

NEAR_BEST = 0.95
"""An execution this close to the fastest is taken in its place where it needs fewer environments, or less machinery."""
WAITING_BELOW = 0.5
"""An environment that computes for less than this share of its step waits for something else."""
UNEVEN_ABOVE = 3.0
"""95th percentile / median of a step's time above which waiting for the slowest is worth a word."""
NOISY_ABOVE = 0.15
"""Half width of a case's interval, as a share of its speed, above which the machine counts as busy."""
MUCH_LOST = 0.1
"""Share of the time beyond which what takes it is told with the recommendation."""

SIMPLEST_FIRST = ("serial", "thread", "native", "shm", "pipe")

PHASE_LABELS: Mapping[str, str] = {
    ENV_STEP: "environment",
    "straggler": "waiting for the slowest",
    "wakeup": "waking up",
    TRANSFER: "copying and signalling",
    UNATTRIBUTED: "rest",
}


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One execution of N environments.

    Attributes:
        case: as recorded.
        sps: median over windows, None where there is none.
        ceiling_share: of what free-running processes reach, by round.
        over_loop: speed over the in-process loop, by round.
        shares: phase -> share of wall time; they add up to 1; empty where nothing was measured.
    """

    case: BenchCase
    sps: Estimate | None
    ceiling_share: Estimate | None
    over_loop: Estimate | None
    shares: Mapping[str, float]

    @property
    def backend(self) -> str:
        """Its backend."""
        return self.case.config.backend

    @property
    def num_envs(self) -> int:
        """N."""
        return self.case.config.total_envs

    @property
    def measured(self) -> bool:
        """Whether it has figures."""
        return self.sps is not None

    @property
    def execution(self) -> tuple[str, int]:
        """Backend and R; of ``auto``, what it chose."""
        return str(self.case.plan.get("backend", self.backend)), self.case.config.num_env_runners

    @property
    def words(self) -> str:
        """The execution in words: ``shm with 2 runners``; of ``auto``, what it chose."""
        return execution_text(*self.execution)


@dataclass(frozen=True, slots=True)
class Growth:
    """What environments cost in one execution, from the smallest and the largest measured size.

    Attributes:
        backend: which.
        bytes_per_env: what one more environment costs.
        low: smallest size.
        high: largest size.
    """

    backend: str
    bytes_per_env: float
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class BenchFindings:
    """What a bench's results say.

    Attributes:
        headline: the verdict, a sentence to stand first.
        headline_rest: a second one; empty where there is nothing to add.
        rows: every vector environment, in order of size.
        ceilings: free-running processes and in-process loops, likewise.
        leaders: who is fastest at which size.
        leader_sentences: the same in words.
        crossings: who overtakes whom.
        contests: how every two executions compare.
        auto: whether what ``auto`` chose was the fastest, in a sentence; empty where it was not measured.
        recommended: the row to take, None if nothing was measured.
        reason: why that one.
        paste: the call that makes it; empty if there is none.
        growth: what one more environment costs, by backend.
        advice: what to try next, one sentence each.
        method: how it was measured, one sentence per item.
        env: one environment by itself.
    """

    headline: str
    headline_rest: str
    rows: tuple[BenchRow, ...]
    ceilings: tuple[BenchRow, ...]
    leaders: tuple[Leaders, ...]
    leader_sentences: tuple[str, ...]
    crossings: tuple[Crossing, ...]
    contests: tuple[Contest, ...]
    auto: str
    recommended: BenchRow | None
    reason: str
    paste: str
    growth: tuple[Growth, ...]
    advice: tuple[str, ...]
    method: tuple[str, ...]
    env: EnvProfile | None

    @property
    def verdict(self) -> str:
        """The verdict on one line."""
        return " ".join(part for part in (self.headline, self.headline_rest) if part)

    @property
    def sizes(self) -> list[int]:
        """Numbers of environments, ascending."""
        return sorted({row.num_envs for row in (*self.rows, *self.ceilings)})

    @property
    def backends(self) -> list[str]:
        """Backends, in the order of the file."""
        return list(dict.fromkeys(row.backend for row in self.rows))

    @property
    def failed(self) -> list[BenchRow]:
        """Cases that ended early, or could not begin."""
        return [row for row in (*self.rows, *self.ceilings) if row.case.outcome != "ok"]

    def ceiling(self, num_envs: int, kind: str = FREE_RUNNING) -> BenchRow | None:
        """Return the ceiling of one size, if it was measured."""
        found = (row for row in self.ceilings if row.num_envs == num_envs and row.backend == kind and row.measured)
        return next(found, None)


def analyse_bench(results: BenchResults) -> BenchFindings:
    """Find out what the measurements of a bench say.

    Args:
        results: complete or not.
    """
    ceilings = {(case.config.backend, case.config.total_envs): case for case in results.ceilings}
    rows = tuple(_row(case, ceilings) for case in results.experiments)
    rivals = _rivals(rows)
    found = tuple(leaders(curves_of(rivals)))
    curves = curves_of([row for row in rows if row.backend != AUTO])  # which is another execution at every size
    crossed = tuple(all_crossings(curves))
    recommended, reason = recommend_row(rivals)
    if recommended is not None:
        reason = f"{reason} What was timed: {_timed_text(results)}."
    headline, rest = _verdict(results, recommended, crossed, found)
    return BenchFindings(
        headline=headline,
        headline_rest=rest,
        rows=tuple(sorted(rows, key=lambda row: row.num_envs)),
        ceilings=tuple(_row(case, ceilings) for case in results.ceilings),
        leaders=found,
        leader_sentences=tuple(leader_sentences(found)),
        crossings=crossed,
        contests=tuple(contests(curves)),
        auto=auto_sentence(rows),
        recommended=recommended,
        reason=reason,
        paste=recommended.case.make_vec if recommended else "",
        growth=tuple(_growth(rows)),
        advice=tuple(_advice(results, recommended)),
        method=tuple(_method(results)),
        env=results.env,
    )


def _rivals(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Return the rows to choose from: without ``auto`` where it chose what was measured by its own name as well."""
    named = {(row.execution, row.num_envs) for row in rows if row.backend != AUTO and row.measured}
    return [row for row in rows if row.backend != AUTO or (row.execution, row.num_envs) not in named]


def auto_sentence(rows: Sequence[BenchRow]) -> str:
    """Say whether what ``auto`` chose was the fastest; empty where nothing tells."""
    best: dict[str, list[int]] = {}
    others_said = []
    for row in rows:
        others = [other for other in rows if other.num_envs == row.num_envs and other.backend != AUTO and other.sps]
        if row.backend != AUTO or not row.measured or not others:
            continue
        fastest = max(others, key=lambda other: other.sps.value if other.sps else 0.0)
        ratio = paired_ratio(row.case.sps_by_round, fastest.case.sps_by_round)
        verdict = order(ratio) if ratio else "cannot tell"
        chosen = _chosen_text(row.words, [row.num_envs])
        if row.execution == fastest.execution or verdict == "higher":
            best.setdefault(row.words, []).append(row.num_envs)
        elif ratio and verdict == "lower":
            others_said.append(f"{chosen}, {1 - ratio.value:.0%} slower than {fastest.words}")
        else:
            others_said.append(f"{chosen}, which cannot be told from the fastest, {fastest.words}")
    said = [f"the fastest measured, {joined(_chosen_text(*item) for item in best.items())}"] if best else []
    said += others_said
    return f"auto chose {'; '.join(said)}" if said else ""


def _chosen_text(words: str, sizes: Sequence[int]) -> str:
    return f"{words} at {joined(f'{size:,}' for size in sizes)} environment{'s' * (list(sizes) != [1])}"


def curves_of(rows: Sequence[BenchRow]) -> dict[str, Curve]:
    """Return backend -> number of environments -> speed by round, of what was measured."""
    curves: dict[str, dict[int, dict[int, float]]] = {}
    for row in rows:
        if row.measured:
            curves.setdefault(row.backend, {})[row.num_envs] = row.case.sps_by_round
    return dict(curves)


def recommend_row(rows: Sequence[BenchRow]) -> tuple[BenchRow | None, str]:
    """Return the execution to take, and why.

    The fastest; or, within :data:`NEAR_BEST` of it, the one that needs fewest environments, then least machinery.
    """
    measured = [row for row in rows if row.sps]
    if not measured:
        return None, ""
    speed = {row.case.name: row.sps.value for row in measured if row.sps}
    fastest = max(measured, key=lambda row: speed[row.case.name])
    best = speed[fastest.case.name]
    near = [row for row in measured if speed[row.case.name] >= NEAR_BEST * best]
    chosen = min(near, key=lambda row: (row.num_envs, _machinery(row.backend), -speed[row.case.name]))
    if chosen is fastest:
        return chosen, "It is the fastest of all that were measured."
    share = speed[chosen.case.name] / best
    less = "fewer environments" if chosen.num_envs < fastest.num_envs else "less machinery"
    return chosen, f"It reaches {share:.0%} of the fastest, {fastest.case.name} ({best:,.0f} steps/s), with {less}."


def execution_text(backend: str, num_env_runners: int) -> str:
    """Say an execution in words: ``serial``, ``shm with 2 runners``, ``thread with 1 thread``."""
    if num_env_runners == 0:
        return backend
    noun = "thread" if backend in ("thread", "native") else "runner"
    return f"{backend} with {num_env_runners} {noun}{'s' * (num_env_runners != 1)}"


def _machinery(backend: str) -> int:
    return SIMPLEST_FIRST.index(backend) if backend in SIMPLEST_FIRST else len(SIMPLEST_FIRST)


def _row(case: BenchCase, ceilings: Mapping[tuple[str, int], BenchCase]) -> BenchRow:
    size, rounds = case.config.total_envs, case.sps_by_round

    def over(kind: str) -> Estimate | None:
        other = ceilings.get((kind, size))
        return paired_ratio(rounds, other.sps_by_round) if other is not None and other is not case else None

    shares: dict[str, float] = {}
    if case.ledger is not None and case.ledger.wall_s > 0:
        shares = {name: case.ledger.phases.get(name, 0.0) / case.ledger.wall_s for name in BENCH_PHASES}
    return BenchRow(
        case, estimate_median(list(rounds.values())) if rounds else None, over(FREE_RUNNING), over(LOOP), shares
    )


def _growth(rows: Sequence[BenchRow]) -> list[Growth]:
    found = []
    for backend in dict.fromkeys(row.backend for row in rows if row.backend != AUTO):  # of many kinds
        held = [row for row in rows if row.backend == backend and row.case.memory is not None]
        most = max((row.case.config.num_env_runners for row in held), default=0)
        alike = sorted((row for row in held if row.case.config.num_env_runners == most), key=lambda row: row.num_envs)
        if len(alike) < 2:
            continue
        first, last = alike[0], alike[-1]
        assert first.case.memory is not None and last.case.memory is not None
        more = last.case.memory.tree_bytes - first.case.memory.tree_bytes
        found.append(Growth(backend, more / (last.num_envs - first.num_envs), first.num_envs, last.num_envs))
    return found


def _verdict(
    results: BenchResults, best: BenchRow | None, crossed: Sequence[Crossing], found: Sequence[Leaders]
) -> tuple[str, str]:
    partial = "" if results.experiment_info.complete else "Partial: the bench was stopped early. "
    if best is None or best.sps is None:
        return f"{partial}No execution of {results.experiment_info.env_id} could be measured.", ""
    share = best.ceiling_share
    of_ceiling = f", {share.value:.0%} of what free-running processes reach" if share else ""
    size = sizes_text([best.num_envs])
    first = f"{partial}Take {best.words}: {best.sps.value:,.0f} steps/s with {size}{of_ceiling}."
    wins = [crossing.text for crossing in crossed if crossing.winner == best.backend]
    if wins:
        return first, f"{joined(wins[:2])}."
    tied = next((item.names for item in found if item.num_envs == best.num_envs and len(item.names) > 1), ())
    if best.backend in tied:
        others = joined(name for name in tied if name != best.backend)
        return first, f"At that size it cannot be told from {others}."
    sentences = leader_sentences(found)
    return first, f"{sentences[0]}." if sentences else ""


def _advice(results: BenchResults, best: BenchRow | None) -> list[str]:
    env = results.env
    said = [*_unsteady(results), *results.notes]
    if env is None:
        return said
    cores = results.experiment_info.machine.get("usable_cores")
    runners = max((case.config.num_env_runners for case in results.experiments), default=0)
    crowded = isinstance(cores, int | float) and runners > cores
    waits = env.cpu_share < WAITING_BELOW
    if waits and not crowded:
        said.append(
            f"The environment computes for {env.cpu_share:.0%} of its step and waits for the rest (sleep, network, "
            f"simulator), so more runners than cores pay: measure again with --num-env-runners {max(8, 4 * runners)}."
        )
    if crowded and not waits:
        said.append(
            f"{runners} runners share {cores:g} cores: the time in environments includes waiting for a core, and fewer "
            f"runners may be as fast."
        )
    if best is not None and best.shares:
        said += _what_is_lost(env, best, results.settings.get("batch_size") is not None)
    return said


def _unsteady(results: BenchResults) -> list[str]:
    """Say so where the windows of a case differ so much that little can be told."""
    widths = [
        (case.median_ci95[1] - case.median_ci95[0]) / 2 / case.median_sps
        for case in (*results.experiments, *results.ceilings)
        if case.median_ci95 and case.median_sps
    ]
    if not widths or median(widths) <= NOISY_ABOVE:
        return []
    return [
        f"The windows of a case differ by ±{median(widths):.0%} in the median: other programs used the machine. "
        f"Measure again on a quiet one, or with more and longer windows (--rounds, --seconds)."
    ]


def _what_is_lost(env: EnvProfile, best: BenchRow, first_ready: bool) -> list[str]:
    lost = {name: share for name, share in best.shares.items() if name != ENV_STEP}
    name, share = max(lost.items(), key=lambda item: item[1])
    if share < MUCH_LOST:
        return []
    said = [f"Of the time of {best.case.name}, {share:.0%} goes to {_lost_text(name)}."]
    uneven = env.step.p95_s / env.step.median_s
    if name == "straggler" and uneven > UNEVEN_ABOVE and not first_ready and best.num_envs > 1:
        said.append(
            f"Steps take unequal times (the 95th percentile is {uneven:.1f} times the median): first-ready batches may "
            f"pay, measure with --batch-size {max(1, best.num_envs // 2)}."
        )
    elif name in ("wakeup", TRANSFER):
        said.append("More environments per runner spread that over more steps.")
    return said


def _lost_text(phase: str) -> str:
    return {UNATTRIBUTED: "what none of the counters claims"}.get(phase, PHASE_LABELS[phase])


def _timed_text(results: BenchResults) -> str:
    return "step()" if results.settings.get("path") == "step" else "send() and recv()"


def _method(results: BenchResults) -> list[str]:
    settings = results.settings
    windows = max((len(case.iterations) for case in results.experiments), default=0)
    waits = f", batches of {settings['batch_size']}" if settings.get("batch_size") else ""
    said = [
        f"Every case in a fresh process with one math thread, measured in turn, round after round: {windows} windows "
        f"of {settings.get('seconds', 0):g} s (longer where 20 batches take longer), {_timed_text(results)}{waits}, "
        f"infos {settings.get('infos', 'none')}, actions {settings.get('actions', 'random')}.",
        "Steps per second are real steps (rows that are resets are not counted): the median over windows, with a 95% "
        "bootstrap interval. Comparisons are of speeds within one round.",
        "The ceiling: as many processes as the parallel executions have runners, each stepping its share of the "
        "environments in turn, never waiting for another. The loop: all of them in one process, no vector environment. "
        "More than 100% of the ceiling: native code is faster than the environments' Python, or waits overlap.",
        "Time is that of an average runner: in its environments (with waiting for a core, or for Python's lock), "
        "waiting for the slowest (half of the time from the first to the last), waking up, and the caller's copying "
        "and signalling; what none of these claims is the rest.",
    ]
    memory = next((case.memory for case in results.experiments if case.memory), None)
    if memory is not None:
        said.append(
            f"Memory: {memory.method}; per environment it is what the tree holds with N environments less what the "
            f"same process held before there was any, divided by N."
        )
    modes = sorted({case.autoreset_mode for case in results.experiments if case.autoreset_mode})
    if modes:
        said.append(f"Autoreset: {joined(modes)}.")
    return said
