"""The error CUSUM: equal to a plain loop, deaf to hours and outliers, quick on planted growth, never ahead of time."""

import json
import math

import numpy as np
import pytest

from forecasting.drift.errors import ErrorDrift
from forecasting.drift.resampling import level_threshold, replicates, sum_threshold
from forecasting.suites.drift import synthetic_errors
from forecasting.suites.drift_rivals import page_hinkley, plain_cusum

DAY = 288
REFERENCE = synthetic_errors(1, days=14)
FUTURE = synthetic_errors(2, days=7)
FITTED = ErrorDrift(step_s=300).fit(REFERENCE, start_s=0).as_json()


def fitted() -> ErrorDrift:
    return ErrorDrift.from_json(FITTED)


def loop(errors: np.ndarray) -> list[bool]:
    """Return alarms by the formulae of the module, written out."""
    known = fitted().reference
    assert known is not None
    before = REFERENCE[-1] / known.usual[23]
    level = surprise = 0.0
    alarms = []
    for row, error in enumerate(errors):
        z = error / known.usual[int((14 * 86_400 + 300 * row) / 3600) % 24]
        if not math.isnan(z):
            level = max(0.0, level + min(abs(z), 4.0) / known.means[0] - known.reference)
            if not math.isnan(before):
                news = abs(z - known.memory * before) / math.sqrt(1 - known.memory**2)
                surprise = max(0.0, surprise + min(news, 4.0) / known.means[1] - known.reference)
        before = z
        alarms.append(level > known.thresholds[0] or surprise > known.thresholds[1])
        if alarms[-1]:
            level = surprise = 0.0
    return alarms


def test_alarms_are_those_of_a_plain_loop() -> None:
    errors = 1.4 * FUTURE
    errors[np.random.default_rng(0).random(len(errors)) < 0.1] = np.nan
    wanted = loop(errors)
    assert sum(wanted) > 2
    assert fitted().run(errors).tolist() == wanted
    one_by_one = fitted()
    assert [one_by_one.update(error) for error in errors[:600]] == wanted[:600]


def test_what_is_learnt_is_the_truth_of_the_stream() -> None:
    known = fitted().reference
    assert known is not None
    hours = np.arange(24) + 0.5
    truth = math.sqrt(2 / math.pi) * (1.0 + 0.5 * np.sin(2 * np.pi * hours / 24))
    np.testing.assert_allclose(known.usual, truth, rtol=0.2)
    assert known.memory == pytest.approx(0.7, abs=0.04)
    assert known.reference == pytest.approx(math.log(1.3) / (1 - 1 / 1.3))


@pytest.mark.parametrize(("growth", "longest_h"), [(1.3, 30.0), (1.6, 12.0)])
def test_planted_growth_is_found(growth: float, longest_h: float) -> None:
    alarms = fitted().run(growth * FUTURE)
    assert 0 <= int(np.argmax(alarms)) < longest_h * 12
    assert alarms.any()
    assert not fitted().run(FUTURE[: 2 * DAY]).any()


def test_the_daily_course_is_no_drift_but_would_be_without_hours() -> None:
    rng = np.random.default_rng(4)
    course = np.where(np.arange(21 * DAY) % DAY < DAY // 2, 3.0, 1.0)
    errors = course * rng.standard_normal(21 * DAY)
    detector = ErrorDrift(step_s=300).fit(errors[: 14 * DAY], start_s=0)
    assert not detector.run(errors[14 * DAY :]).any()
    options = {"step_s": 300, "false_alarms_per_day": 0.015, "growth": 1.3}
    assert plain_cusum(errors[: 14 * DAY], errors[14 * DAY :], **options).any()
    moved = np.roll(errors, DAY // 2)
    assert ErrorDrift(step_s=300).fit(errors[: 14 * DAY], start_s=0).run(moved[14 * DAY :]).any()


def test_a_lasting_bias_is_found() -> None:
    usual = np.abs(REFERENCE).mean()
    assert fitted().run(FUTURE + 1.0 * usual)[: 2 * DAY].any()


def test_single_outliers_raise_no_alarm() -> None:
    spoilt = FUTURE[: 2 * DAY].copy()
    spoilt[::120] = 1e12
    assert not fitted().run(spoilt).any()
    reference = REFERENCE.copy()
    reference[500] = -1e12
    detector = ErrorDrift(step_s=300).fit(reference, start_s=0)
    assert detector.run(1.6 * FUTURE).any()
    assert detector.usual_errors()[0] == pytest.approx(fitted().usual_errors()[0], rel=0.05)


def test_changing_the_future_changes_no_past_alarm() -> None:
    changed = 1.5 * FUTURE
    changed[700:] = 1e12
    before = fitted().run(1.5 * FUTURE)
    assert before[:700].any()
    assert before[:700].tolist() == fitted().run(changed)[:700].tolist()


def test_the_same_seed_gives_the_same_detector_and_json_keeps_its_state() -> None:
    again = ErrorDrift(step_s=300).fit(REFERENCE, start_s=0)
    assert again.as_json() == FITTED
    assert ErrorDrift(step_s=300, seed=9).fit(REFERENCE, start_s=0).as_json() != FITTED
    again.run([*FUTURE[:99], np.nan])
    copied = ErrorDrift.from_json(json.loads(json.dumps(again.as_json())))
    assert copied.pressure == again.pressure > 0.0
    assert copied.run(1.5 * FUTURE[100:]).tolist() == again.run(1.5 * FUTURE[100:]).tolist()


def test_units_do_not_matter() -> None:
    scaled = ErrorDrift(step_s=300).fit(1e9 * REFERENCE, start_s=0)
    assert scaled.run(1e9 * 1.4 * FUTURE).tolist() == fitted().run(1.4 * FUTURE).tolist()


def test_absolute_errors_are_taken_without_memory() -> None:
    detector = ErrorDrift(step_s=300).fit(np.abs(REFERENCE), start_s=0)
    assert detector.reference is not None
    assert detector.reference.memory == 0.0
    assert detector.run(1.6 * np.abs(FUTURE)).any()


def test_a_perfect_reference_alarms_at_real_errors_only() -> None:
    detector = ErrorDrift(step_s=3600).fit(np.zeros(72), start_s=0)
    assert not detector.run(np.zeros(200)).any()
    assert detector.update(1.0)


def test_missing_errors_change_nothing() -> None:
    detector = fitted()
    detector.run(1.2 * FUTURE[:50])
    pressure = detector.pressure
    assert not detector.run(np.full(500, np.nan)).any()
    assert detector.pressure == pressure


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"step_s": 0}, "step_s is 0"),
        ({"step_s": 300, "false_alarms_per_day": 0.0}, "false_alarms_per_day is 0"),
        ({"step_s": 300, "smallest_growth": 1.0}, "smallest_growth is 1"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ErrorDrift(**options)


def test_bad_errors_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="863 known errors of 300 s; the reference needs 864, 3 days"):
        ErrorDrift(step_s=300).fit(REFERENCE[:863], start_s=0)
    with pytest.raises(ValueError, match="0 known errors"):
        ErrorDrift(step_s=300).fit(np.full(5000, np.nan), start_s=0)
    with pytest.raises(ValueError, match="error 1 is infinite"):
        fitted().run([0.0, np.inf])
    with pytest.raises(ValueError, match="no reference yet"):
        ErrorDrift(step_s=300).update(0.0)
    for broken in ({}, {**FITTED, "reference": None}, {**FITTED, "sums": [0.0]}):
        with pytest.raises(ValueError, match="not a detector of error drift"):
            ErrorDrift.from_json(broken)


def test_thresholds_allow_as_many_alarms_as_asked_and_no_more() -> None:
    rng = np.random.default_rng(0)
    scores = rng.exponential(size=200_000)
    for allowed in (5, 50):
        threshold = sum_threshold(scores, reference=1.14, alarms=allowed)
        counts = []
        for level in (threshold, 0.97 * threshold):
            total, count = 0.0, 0
            for score in scores:
                total = max(0.0, total + score - 1.14)
                if total > level:
                    total, count = 0.0, count + 1
            counts.append(count)
        assert counts[0] <= allowed < counts[1] + 0.2 * allowed
    levels = np.tile([0.1, 0.2, 0.9, 0.3], 25)
    assert level_threshold(levels, rest=4, alarms=25) < 0.9
    assert level_threshold(levels, rest=4, alarms=24) == pytest.approx(0.9)


def test_replicates_keep_the_hour_of_the_day() -> None:
    for block_s in (86_400, 14_400):
        for reference, watched in replicates(14 * DAY, step_s=300, block_s=block_s, seed=0):
            assert len(reference) == 14 * DAY
            assert np.unique((watched - watched[0] - np.arange(len(watched))) % DAY).tolist() == [0]
            jumps = np.flatnonzero(np.diff(watched) % (14 * DAY) != 1) + 1
            assert (jumps % (block_s // 300) == 0).all()


def test_rivals_find_growth_and_alarm_more_than_asked() -> None:
    errors = synthetic_errors(3, days=42)
    calm = plain_cusum(errors[: 14 * DAY], errors[14 * DAY :], step_s=300, false_alarms_per_day=0.015, growth=1.3)
    loud = plain_cusum(errors[: 14 * DAY], 1.6 * FUTURE, step_s=300, false_alarms_per_day=0.015, growth=1.3)
    assert calm.sum() > 0.015 * 28
    assert loud[:DAY].any()
    independent = np.random.default_rng(0).standard_normal(60 * DAY)
    options = {"step_s": 300, "false_alarms_per_day": 0.1, "growth": 1.3}
    assert plain_cusum(independent[: 30 * DAY], independent[30 * DAY :], **options).sum() <= 10
    assert page_hinkley(errors[: 14 * DAY], 1.6 * FUTURE)[:DAY].any()
