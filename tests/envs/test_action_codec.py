import numpy as np
import pytest

from envs.action import KEEP, MAX_SCALE, action_space, decode, encode_action
from envs.settings import Candidate, EnvSettings, TaskSettings
from simulators.records import DECISION, TELEMETRY

THREE = tuple(Candidate(name=name, types=(name,)) for name in ("m6i.large", "c7g.large", "m7g.large"))


def reading_of(spot: list[float], on_demand: list[float], *, current: int = 0) -> np.ndarray:
    """One telemetry record of three candidates of equal capacity."""
    reading = np.zeros(1, TELEMETRY)
    reading["candidate_capacity_rps"][0, :3] = 50.0
    reading["candidate_spot_usd_per_hour"][0, :3] = spot
    reading["candidate_on_demand_usd_per_hour"][0, :3] = on_demand
    reading["spec"] = current
    return reading


def decided(task: TaskSettings, reading: np.ndarray, *, candidate: int, spot_percent: int = 100) -> int:
    action = encode_action(task, scale=0, candidate=candidate, spot_percent=spot_percent, policy=0)
    decisions = np.zeros(1, DECISION)
    decode(action[None], reading, decisions, task)
    return int(decisions["spec"][0])


def by_price(hysteresis: float = 0.1) -> TaskSettings:
    return TaskSettings(candidates=THREE, rank_hysteresis=hysteresis)


def test_decoding_gives_back_what_was_encoded(task: TaskSettings) -> None:
    fixed = task.model_copy(update={"candidate_order": "fixed"})
    reading = reading_of([1, 1, 1], [1, 1, 1], current=2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        wanted = {
            "scale": int(rng.integers(-MAX_SCALE, MAX_SCALE + 1)),
            "candidate": int(rng.integers(0, len(task.candidates) + 1)),
            "spot_percent": int(rng.integers(0, task.num_spot_levels)) * task.spot_step_percent,
            "policy": int(rng.integers(0, len(task.menu))),
        }
        decisions = np.zeros(1, DECISION)
        decode(encode_action(fixed, **wanted)[None], reading, decisions, fixed)
        assert decisions["scale"][0] == wanted["scale"]
        assert decisions["policy"][0] == wanted["policy"]
        assert decisions["spot_fraction"][0] == wanted["spot_percent"] / 100
        assert decisions["spec"][0] == (wanted["candidate"] - 1 if wanted["candidate"] else 2)


@pytest.mark.parametrize(("part", "name"), [(0, "scale"), (1, "launch specification"), (2, "spot"), (3, "policy")])
@pytest.mark.parametrize("low", [True, False])
def test_every_part_out_of_range_is_named(task: TaskSettings, part: int, name: str, low: bool) -> None:
    largest = action_space(task).nvec[part] - 1
    actions = np.zeros((3, 4), np.int64)
    actions[2, part] = -1 if low else largest + 1
    with pytest.raises(ValueError, match=rf"action 2: {name} is {actions[2, part]}; expected 0 to {largest}$"):
        decode(actions, np.zeros(3, TELEMETRY), np.zeros(3, DECISION), task)


def test_a_wrong_shape_is_refused(task: TaskSettings) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(2, 4\)"):
        decode(np.zeros((2, 3), np.int64), np.zeros(2, TELEMETRY), np.zeros(2, DECISION), task)


@pytest.mark.parametrize(
    "wrong",
    [{"scale": 20}, {"scale": -20}, {"candidate": 9}, {"spot_percent": 55}, {"spot_percent": 110}, {"policy": 12}],
)
def test_no_action_is_made_for_values_outside_the_space(task: TaskSettings, wrong: dict[str, int]) -> None:
    values = {"scale": 0, "candidate": 0, "spot_percent": 0, "policy": 0} | wrong
    with pytest.raises(ValueError, match="no such action"):
        encode_action(task, **values)


def test_the_cheapest_at_the_asked_spot_share_has_rank_one() -> None:
    task = by_price(hysteresis=0.0)
    reading = reading_of(spot=[0.05, 0.03, 0.04], on_demand=[0.10, 0.30, 0.20])
    assert [decided(task, reading, candidate=rank, spot_percent=100) for rank in (1, 2, 3)] == [1, 2, 0]
    assert [decided(task, reading, candidate=rank, spot_percent=0) for rank in (1, 2, 3)] == [0, 2, 1]
    # at 50 %: 0.075, 0.165, 0.12
    assert [decided(task, reading, candidate=rank, spot_percent=50) for rank in (1, 2, 3)] == [0, 2, 1]


def test_prices_count_per_unit_of_capacity() -> None:
    reading = reading_of(spot=[0.05, 0.06, 0.07], on_demand=[1, 1, 1])
    reading["candidate_capacity_rps"][0, 2] = 100.0
    assert decided(by_price(0.0), reading, candidate=1) == 2


def test_the_current_candidate_keeps_its_rank_within_the_hysteresis() -> None:
    task = by_price(hysteresis=0.1)
    almost = reading_of(spot=[0.0500, 0.0455, 0.09], on_demand=[1, 1, 1], current=0)
    assert decided(task, almost, candidate=1) == 0
    assert decided(by_price(0.0), almost, candidate=1) == 1
    clearly = reading_of(spot=[0.0500, 0.0445, 0.09], on_demand=[1, 1, 1], current=0)
    assert decided(task, clearly, candidate=1) == 1
    after = reading_of(spot=[0.0500, 0.0445, 0.09], on_demand=[1, 1, 1], current=1)
    assert decided(task, after, candidate=1) == 1


def test_equal_prices_rank_by_index() -> None:
    reading = reading_of(spot=[0.05, 0.05, 0.05], on_demand=[1, 1, 1], current=0)
    assert [decided(by_price(0.0), reading, candidate=rank) for rank in (1, 2, 3)] == [0, 1, 2]


def test_keep_keeps_whatever_the_prices_are() -> None:
    for current in range(3):
        reading = reading_of(spot=[0.05, 0.01, 0.09], on_demand=[1, 1, 1], current=current)
        assert decided(by_price(), reading, candidate=KEEP) == current


def test_the_fixed_order_reads_indices() -> None:
    task = by_price().model_copy(update={"candidate_order": "fixed"})
    reading = reading_of(spot=[0.05, 0.01, 0.09], on_demand=[1, 1, 1])
    assert [decided(task, reading, candidate=index) for index in (1, 2, 3)] == [0, 1, 2]


def test_the_space_has_the_parts_of_the_page(settings: EnvSettings) -> None:
    task = settings.task
    assert action_space(task).nvec.tolist() == [39, 9, 11, len(task.menu)]
    coarse = task.model_copy(update={"spot_step_percent": 25})
    assert action_space(coarse).nvec[2] == 5
