"""What counts as a leak, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.tuner.leak import Held, leak_bytes_per_step

MIB = 2**20


def held(*mib: float, steps: int = 10_000, process: int = 1) -> list[Held]:
    return [Held(process, steps, int(MIB * size)) for size in mib]


def test_steady_growth_is_a_leak_by_the_step() -> None:
    assert leak_bytes_per_step(held(500, 540, 580, 620)) == pytest.approx(40 * MIB / 10_000)


def test_growth_is_that_of_each_process_for_itself() -> None:
    both = [*held(500, 520, 540), *held(700, 720, 740, process=2)]
    assert leak_bytes_per_step(both) == pytest.approx(20 * MIB / 10_000)
    assert leak_bytes_per_step([*held(500), *held(900, process=2)]) is None, "two processes differ, none grew"


@pytest.mark.parametrize(
    "sizes",
    [
        (500, 500, 500, 500),
        (500, 503, 501, 504),
        (500, 600, 600, 600, 600, 600),  # one buffer more
        (500, 560, 520, 570, 530),
        (5000, 5010, 5020, 5030),  # 0.6 % of what it holds
        (500, 900),
        (500, 520, 520),
        (500,),
        (),
    ],
)
def test_noise_and_jumps_are_none(sizes: tuple[float, ...]) -> None:
    assert leak_bytes_per_step(held(*sizes)) is None


def test_what_grows_at_the_beginning_of_every_process_is_no_leak() -> None:
    assert leak_bytes_per_step([*held(400, 420), *held(400, 421, process=2), *held(400, 422, process=3)]) is None


def test_noise_on_top_of_a_leak_does_not_hide_it() -> None:
    random = np.random.default_rng(0)
    sizes = 500 + 10 * np.arange(20) + random.normal(0, 2, 20)
    assert leak_bytes_per_step(held(*sizes)) == pytest.approx(10 * MIB / 10_000, rel=0.1)
