"""Every supported space, encoded by hand."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from paceline.agents.encoding import check_observation_space, encode, image_spaces, vector_size
from paceline.errors import UnsupportedSpaceError

NESTED = spaces.Dict(
    {
        "b": spaces.Tuple((spaces.Discrete(3, start=5), spaces.Box(-1, 1, (2, 2)))),
        "a": spaces.MultiBinary(3),
        "c": spaces.Dict(
            {"scalar": spaces.Box(-1.0, 1.0, (), np.float64), "image": spaces.Box(0, 255, (4, 4, 2), np.uint8)}
        ),
    }
)
FLAT: list[gymnasium.Space[Any]] = [
    spaces.Box(-1, 1, (5,)),
    spaces.Box(-1, 1, (2, 3), np.float64),
    spaces.Box(0, 9, (3,), np.int64),
    spaces.Box(-1, 1, ()),
    spaces.Discrete(4),
    spaces.Discrete(4, start=-2),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiDiscrete([[2, 3], [1, 4]], start=[[0, -1], [7, 3]]),
    spaces.MultiBinary(4),
    spaces.MultiBinary((2, 2)),
]


def by_hand(space: gymnasium.Space[Any], value: Any) -> list[float]:
    """Encode one observation with Python loops."""
    if isinstance(space, spaces.Discrete):
        return [float(int(value) == label) for label in range(int(space.start), int(space.start + space.n))]
    if isinstance(space, spaces.MultiDiscrete):
        starts = np.broadcast_to(space.start, space.nvec.shape).ravel()
        parts = zip(space.nvec.ravel(), starts, np.ravel(value), strict=True)
        return [float(v == start + k) for n, start, v in parts for k in range(n)]
    return [float(x) for x in np.ravel(value)]


def stack(samples: list[Any]) -> Any:
    if isinstance(samples[0], dict):
        return {key: stack([sample[key] for sample in samples]) for key in samples[0]}
    if isinstance(samples[0], tuple):
        return tuple(stack(list(parts)) for parts in zip(*samples, strict=True))
    return np.stack([np.asarray(sample) for sample in samples])


@pytest.mark.parametrize("space", FLAT, ids=str)
@pytest.mark.parametrize("lead", [(), (6,), (2, 3)], ids=str)
def test_flat_spaces_become_the_vector_that_a_loop_would_make(
    space: gymnasium.Space[Any], lead: tuple[int, ...]
) -> None:
    space.seed(0)
    samples = [space.sample() for _ in range(int(np.prod(lead)))]
    observations = stack(samples).reshape((*lead, *(space.shape or ())))
    encoded = encode(space, observations)
    assert encoded.vector.shape == (*lead, vector_size(space))
    assert encoded.vector.dtype == np.float32
    assert encoded.images == ()
    expected = np.array([by_hand(space, sample) for sample in samples], np.float32).reshape(*lead, -1)
    np.testing.assert_array_equal(encoded.vector, expected)


@pytest.mark.parametrize("lead", [(5,), (2, 3)], ids=str)
def test_nested_spaces_are_concatenated_in_the_order_of_the_space(lead: tuple[int, ...]) -> None:
    NESTED.seed(1)
    samples = [NESTED.sample() for _ in range(int(np.prod(lead)))]
    batched = stack(samples)
    shaped = {
        "a": batched["a"].reshape(*lead, 3),
        "b": (batched["b"][0].reshape(lead), batched["b"][1].reshape(*lead, 2, 2)),
        "c": {"scalar": batched["c"]["scalar"].reshape(lead), "image": batched["c"]["image"].reshape(*lead, 4, 4, 2)},
    }
    encoded = encode(NESTED, shaped)

    def row(sample: Any) -> list[float]:
        values: list[float] = []
        for key, part in NESTED.spaces.items():
            if key == "a":
                values += by_hand(part, sample["a"])
            elif key == "b":
                values += [v for s, x in zip(part.spaces, sample["b"], strict=True) for v in by_hand(s, x)]
            else:
                values += [float(sample["c"]["scalar"])]
        return values

    expected = np.array([row(sample) for sample in samples], np.float32).reshape(*lead, -1)
    assert vector_size(NESTED) == expected.shape[-1] == 3 + 3 + 4 + 1
    np.testing.assert_array_equal(encoded.vector, expected)
    assert len(encoded.images) == len(image_spaces(NESTED)) == 1
    np.testing.assert_array_equal(encoded.images[0], shaped["c"]["image"])


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [
        ((64, 64, 3), False),
        ((8, 8, 3), False),
        ((210, 160, 3), False),
        ((84, 84, 4), False),
        ((7, 7, 20), False),  # more channels than pixels in a row: the square tells
        ((3, 3, 3), False),
        ((4, 84, 84), True),
        ((1, 28, 28), True),
        ((20, 7, 7), True),
        ((3, 210, 160), True),
    ],
    ids=str,
)
@pytest.mark.parametrize("lead", [(), (2, 3)], ids=str)
def test_images_end_up_with_channels_last(shape: tuple[int, ...], channels_first: bool, lead: tuple[int, ...]) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    image = pixels(*lead, *shape)
    encoded = encode(space, image)
    assert encoded.vector.shape == (*lead, 0)
    assert vector_size(space) == 0
    assert encoded.images[0].dtype == np.uint8
    np.testing.assert_array_equal(encoded.images[0], np.moveaxis(image, -3, -1) if channels_first else image)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Dict({"ok": spaces.Discrete(2), "bad": spaces.Text(5)}),
        spaces.Tuple((spaces.Discrete(2), spaces.Graph(spaces.Discrete(2), None))),
    ],
    ids=lambda space: type(space).__name__,
)
def test_other_observation_spaces_are_refused_with_the_way_out(space: gymnasium.Space[Any]) -> None:
    with pytest.raises(UnsupportedSpaceError, match=r"expected an observation space made of .* got \w+; wrap"):
        check_observation_space(space)


@pytest.mark.parametrize(
    ("low", "high", "divisor"),
    [
        (0.0, 255.0, 255.0),
        (-2.0, 2.0, 2.0),
        (0.0, 1.0, 1.0),
        (0.0, 0.5, 1.0),
        (-np.inf, np.inf, 1.0),
        (0.0, np.where(np.arange(5 * 5 * 2) == 7, 9.0, 255.0).reshape(5, 5, 2), 1.0),  # no one bound
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_images_are_scaled_by_the_bound_of_their_space(low: float, high: Any, divisor: float, dtype: Any) -> None:
    shape = (5, 5, 2)
    space = spaces.Box(np.full(shape, low, dtype), np.full(shape, high, dtype), shape, dtype)
    image = np.random.default_rng(0).uniform(0, 255, size=(3, 5, 5, 2)).astype(dtype)
    encoded = encode(space, image)
    assert encoded.images[0].dtype == np.float32
    np.testing.assert_allclose(encoded.images[0], image / divisor, rtol=1e-6)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (0,)),
        spaces.Box(-1, 1, (3, 0)),
        spaces.Dict({}),
        spaces.Tuple(()),
        spaces.Dict({"inner": spaces.Tuple((spaces.Dict({}), spaces.Box(-1, 1, (0,))))}),
    ],
    ids=str,
)
def test_nothing_to_observe_is_refused(space: gymnasium.Space[Any]) -> None:
    with pytest.raises(UnsupportedSpaceError, match=r"at least one number, got .*; have the environment observe"):
        check_observation_space(space)


def test_an_empty_part_is_refused_only_as_an_image() -> None:
    with_empty = spaces.Dict({"empty": spaces.Box(-1, 1, (0,)), "full": spaces.Box(-1, 1, (2,)), "no": spaces.Dict({})})
    check_observation_space(with_empty)
    observation = {"empty": np.zeros((4, 0), np.float32), "full": np.ones((4, 2), np.float32), "no": {}}
    np.testing.assert_array_equal(encode(with_empty, observation).vector, np.ones((4, 2)))
    with pytest.raises(UnsupportedSpaceError, match=r"one pixel .* shape \(0, 8, 3\); leave this part out"):
        check_observation_space(spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (0, 8, 3)))))


@pytest.mark.parametrize("space", [*FLAT, NESTED], ids=lambda space: type(space).__name__)
def test_supported_spaces_pass_the_check(space: gymnasium.Space[Any]) -> None:
    check_observation_space(space)
