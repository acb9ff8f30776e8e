"""The drift suite: figures that can be recounted, targets met on a few streams, real streams taken as they come."""

import math

import numpy as np
import pytest

from forecasting.suites.drift import DETECTORS, OWN, ErrorStream, drift_suite, synthetic_errors


def test_synthetic_errors_are_what_they_say() -> None:
    errors = synthetic_errors(5, days=200)
    np.testing.assert_array_equal(errors, synthetic_errors(5, days=200))
    turn = 2 * np.pi * np.arange(len(errors)) / 288
    plain = errors / (1 + 0.5 * np.sin(turn))
    assert plain.std() == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(plain[1:], plain[:-1])[0, 1] == pytest.approx(0.7, abs=0.02)


@pytest.mark.slow
def test_the_suite_meets_its_targets_and_its_rivals_do_not() -> None:
    stream = ErrorStream(synthetic_errors(77, days=28), 300, 0)
    finding = drift_suite(3, seeds=12, streams={"made": stream})
    measured = {check.name: check for check in finding.checks}
    assert all(check.holds for check in finding.checks), measured
    table = finding.tables["Synthetic error streams"].set_index("detector")
    assert list(table.index) == list(DETECTORS)
    assert float(table.loc[OWN, "false alarms a day"].split()[0]) == pytest.approx(
        measured["false alarms a day"].measured, abs=5e-4
    )
    for rival in ("plain CUSUM", "Page-Hinkley"):
        assert float(table.loc[rival, "false alarms a day"].split()[0]) > 0.05
    assert table.loc["never alarming", "x1.6: found"] == "0%"
    real = finding.tables["Real error streams"].set_index("detector")
    assert real.loc["never alarming", "x1.3: delay, h"] == math.inf
    assert real.loc[OWN, "x1.6: delay, h"] < 24.0
    assert set(finding.figures) == {"drift"}


def test_streams_that_cannot_be_played_are_refused() -> None:
    with pytest.raises(ValueError, match="seeds is 0"):
        drift_suite(0, seeds=0)
    short = ErrorStream(synthetic_errors(1, days=13), 300, 0)
    with pytest.raises(ValueError, match=r"stream 'short': 13\.0 days of 300 s; expected 14 days"):
        drift_suite(0, seeds=1, streams={"short": short})
