import numpy as np
import pytest

from forecasting.metrics.events import count_events, pool_counts

STEP_S = 300.0
EVENTS = np.array([[3000.0, 6000.0], [15_000.0, 18_000.0]])


def alarm_at(*rows: int, length: int = 288) -> np.ndarray:
    alarms = np.zeros(length, dtype=bool)
    alarms[list(rows)] = True
    return alarms


def test_a_hand_computed_day() -> None:
    """Rows 12-13 find the first event, 120 is false, 121 and 126 join it, 127 stands alone by a row too many."""
    counts = count_events(alarm_at(12, 13, 120, 121, 128, 136), EVENTS, STEP_S)
    assert (counts.events, counts.found, counts.alarms, counts.true_alarms) == (2, 1, 3, 1)
    assert counts.delays_s == (13 * STEP_S - 3000.0,)
    assert counts.precision == pytest.approx(1 / 3)
    assert counts.recall == 0.5
    assert counts.f1 == pytest.approx(0.4)
    assert counts.false_alarms_per_day == 2.0
    assert counts.event_rows == 20
    assert counts.never_alarm_accuracy == pytest.approx(268 / 288)
    assert counts.accuracy == pytest.approx((288 - 18 - 4) / 288)


def test_ten_minutes_after_an_event_still_count_and_eleven_do_not() -> None:
    assert count_events(alarm_at(21), EVENTS, STEP_S).found == 1
    assert count_events(alarm_at(22), EVENTS, STEP_S).found == 0
    assert count_events(alarm_at(9), EVENTS, STEP_S).found == 0


def test_a_perfect_detector_scores_1_with_the_delay_of_one_row() -> None:
    alarms = alarm_at(*range(10, 20), *range(50, 60))
    counts = count_events(alarms, EVENTS, STEP_S)
    assert counts.f1 == 1.0
    assert counts.accuracy == 1.0
    assert counts.median_delay_s == STEP_S
    assert counts.false_alarms_per_day == 0.0


def test_never_alarming_and_always_alarming_score_nothing() -> None:
    never = count_events(alarm_at(), EVENTS, STEP_S)
    assert (never.f1, never.precision, never.recall) == (0.0, 0.0, 0.0)
    assert np.isnan(never.median_delay_s)
    assert never.accuracy == never.never_alarm_accuracy
    always = count_events(np.ones(288, dtype=bool), EVENTS, STEP_S)
    assert (always.recall, always.precision, always.f1) == (1.0, 0.0, 0.0)


def test_random_alarms_score_little() -> None:
    rng = np.random.default_rng(0)
    counts = pool_counts(count_events(rng.random(288) < 0.02, EVENTS, STEP_S) for _ in range(200))
    assert counts.precision < 0.25
    assert counts.events == 400
    assert counts.days == pytest.approx(200.0)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="needs a row"):
        count_events([], EVENTS, STEP_S)
    with pytest.raises(ValueError, match="end after they start"):
        count_events(alarm_at(1), EVENTS[:, ::-1], STEP_S)
    with pytest.raises(ValueError, match="no series"):
        pool_counts([])
