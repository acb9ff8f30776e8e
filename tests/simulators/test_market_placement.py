"""The placement score: what raises it, what lowers it, what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.placement import placement_score
from simulators.records import AMPLE, DRY, TIGHT

POOLS = st.lists(st.sampled_from([AMPLE, TIGHT, DRY]), min_size=1, max_size=12)


def score(states: list[int], requested: int) -> int:
    return placement_score(np.array(states, np.uint8), requested)


def test_the_ends_of_the_scale() -> None:
    assert score([AMPLE] * 4, 1) == 10
    assert score([DRY] * 4, 1) == 1
    assert score([AMPLE] * 4, 100_000) == 1


def test_requests_for_fewer_than_three_types_score_low() -> None:
    assert score([AMPLE, AMPLE], 1) == 3
    assert score([AMPLE, AMPLE, AMPLE], 1) == 10


@given(POOLS, st.integers(1, 400), st.integers(1, 400))
def test_the_score_never_rises_with_the_request(states: list[int], small: int, more: int) -> None:
    assert score(states, small + more) <= score(states, small)


@given(POOLS, st.integers(1, 400), st.data())
def test_the_score_never_rises_when_a_pool_gets_worse(states: list[int], requested: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(states) - 1))
    worse = list(states)
    worse[position] = min(DRY, worse[position] + 1)
    assert 1 <= score(worse, requested) <= score(states, requested) <= 10


def test_noise_moves_the_score_and_keeps_it_on_the_scale() -> None:
    rng = np.random.default_rng(0)
    states = np.array([AMPLE, TIGHT, TIGHT, DRY], np.uint8)
    drawn = [placement_score(states, 20, rng) for _ in range(300)]
    assert len(set(drawn)) >= 3
    assert np.mean(drawn) == pytest.approx(placement_score(states, 20), abs=0.6)
    assert {placement_score(np.full(4, AMPLE, np.uint8), 1, rng) for _ in range(100)} <= set(range(1, 11))


@pytest.mark.parametrize(
    ("states", "requested", "said"),
    [([AMPLE], 0, "at least 1 requested"), ([], 1, "pool states"), ([7], 1, r"pool states 0, 1 or 2, got \[7\]")],
)
def test_impossible_requests_are_refused(states: list[int], requested: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        score(states, requested)
