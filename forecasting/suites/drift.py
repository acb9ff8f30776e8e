"""Drift: false alarms a day, share found and delay, on streams whose truth is known and on real forecast errors.

A synthetic stream is signed five-minute errors, an autoregression with coefficient 0.7, times a scale with a daily
course that swings by half. Days 0 to 13 are the reference. Then three futures of the same stream: as it was for four
weeks (every alarm is false), and with errors times 1.3 and times 1.6 for a week (the first alarm finds it). Settings
were chosen on other seeds.

A real stream is treated alike: its first part is the reference, the rest is played as it is and grown.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.drift.errors import ErrorDrift
from forecasting.drift.trigger import RetrainTrigger, TriggerSettings
from forecasting.suites.drift_rivals import page_hinkley, plain_cusum
from forecasting.suites.finding import Finding
from telemetry.check import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

GROWTHS: Final = (1.3, 1.6)
LONGEST_DELAY_HOURS: Final[Mapping[float, float]] = {1.3: 12.0, 1.6: 6.0}
MOST_FALSE_ALARMS_PER_DAY: Final = 0.05
REFERENCE_DAYS: Final = 14
_QUIET_DAYS: Final = 28
_SEARCHED_DAYS: Final = 7
_STEP_S: Final = 300
_MEMORY: Final = 0.7
_SWING: Final = 0.5
_DAY_S: Final = 86_400
_RATE: Final = 0.015
_FIRST_STREAM: Final = 1_000_000
_DRAWS: Final = 2000
_SOURCE: Final = "targets of the evaluation; streams as in the project's notes on drift"

OWN: Final = "hour-normalised CUSUM"
TRIGGER: Final = "retrain trigger"
DETECTORS: Final = (OWN, TRIGGER, "plain CUSUM", "Page-Hinkley", "never alarming")
Player = Callable[[FloatArray], BoolArray]


@dataclass(frozen=True)
class ErrorStream:
    """Forecast errors of one series.

    Attributes:
        errors: float64[N], actual minus forecast of one lead, one per step; NaN is missing.
        step_s: Seconds per error, a whole part of an hour.
        start_s: UTC second of the first.
    """

    errors: FloatArray
    step_s: int
    start_s: int


@dataclass
class _Tally:
    """What a detector did: false alarms and days watched per stream, delays in hours per growth (infinite: missed)."""

    alarms: list[int] = field(default_factory=list)
    days: list[float] = field(default_factory=list)
    delays: dict[float, list[float]] = field(default_factory=lambda: {growth: [] for growth in GROWTHS})


def drift_suite(seed: int, *, streams: Mapping[str, ErrorStream] | None = None, seeds: int = 100) -> Finding:
    """Return how the drift detector does against its rivals.

    Args:
        seed: Chooses the synthetic streams and the resampling of the intervals.
        streams: Real forecast errors by series; each needs two weeks.
        seeds: How many synthetic streams.

    Raises:
        ValueError: No stream, or a real one that is too short.
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}; expected 1 or more")
    rng = np.random.default_rng(seed)
    tallies = {name: _Tally() for name in DETECTORS}
    for index in range(seeds):
        errors = synthetic_errors(_FIRST_STREAM + 10_000 * seed + index, days=REFERENCE_DAYS + _QUIET_DAYS)
        _play(ErrorStream(errors, _STEP_S, 0), REFERENCE_DAYS, tallies)
    own = tallies[OWN]
    checks = [
        Check("false alarms a day", _rate(own), 0.0, MOST_FALSE_ALARMS_PER_DAY, "1/day", _SOURCE),
        *(
            Check(f"median delay, errors x{growth}", _median(own, growth), 0.0, hours, "h", _SOURCE)
            for growth, hours in LONGEST_DELAY_HOURS.items()
        ),
        *(Check(f"share found, errors x{growth}", _found(own, growth), 1.0, 1.0, "1", _SOURCE) for growth in GROWTHS),
    ]
    tables = {"Synthetic error streams": _table(tallies, rng)}
    notes = [
        f"{seeds} streams, {_QUIET_DAYS} quiet days each; a growth counts as found within {_SEARCHED_DAYS} days; "
        "delays of the missed are infinite in median and 90 % quantile. Intervals: 95 %, streams resampled.",
        "The plain CUSUM takes the wanted rate for independent normal hours; Page-Hinkley has library presets. "
        "The trigger needs an alarm and errors 15 % above the usual over 24 hours.",
    ]
    if streams:
        tables["Real error streams"] = _real_table(streams)
        notes.append(
            "Real streams: the first half, two weeks at most, is the reference. The rest drifts by itself, so an alarm "
            "there is not known to be false."
        )
    return Finding(checks=checks, tables=tables, figures={"drift": _figure(tallies)}, notes=notes)


def synthetic_errors(seed: int, *, days: int) -> FloatArray:
    """Return signed five-minute errors, float64[288 days]: autoregressive, with a daily course of their scale."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_normal(days * _DAY_S // _STEP_S) * math.sqrt(1.0 - _MEMORY**2)
    errors = np.empty(len(shocks))
    value = float(rng.standard_normal())
    for at, shock in enumerate(shocks.tolist()):
        value = _MEMORY * value + shock
        errors[at] = value
    turn = 2.0 * np.pi * _STEP_S * np.arange(len(errors)) / _DAY_S
    return np.asarray(errors * (1.0 + _SWING * np.sin(turn)))


def _players(stream: ErrorStream, reference: FloatArray) -> dict[str, Player]:
    """Return every detector, made for the reference of a stream; each call of one starts where the reference ends."""
    detector = ErrorDrift(step_s=stream.step_s, false_alarms_per_day=_RATE).fit(reference, start_s=stream.start_s)
    known = reference[np.isfinite(reference)]

    def trigger(errors: FloatArray) -> BoolArray:
        settings = TriggerSettings(stream.step_s)
        shadow = settings.rows(settings.shadow_hours)
        own, asked = copy.deepcopy(detector), RetrainTrigger(settings)
        asked.fill(np.abs(reference[-shadow:]), own.usual_errors(-shadow))
        usual = own.usual_errors(len(errors))
        steps = zip(own.run(errors).tolist(), np.abs(errors).tolist(), usual.tolist(), strict=True)
        return np.array([asked.update(alarm=alarm, loss=loss, usual_loss=often) for alarm, loss, often in steps])

    return {
        OWN: lambda errors: copy.deepcopy(detector).run(errors),
        TRIGGER: trigger,
        "plain CUSUM": lambda errors: plain_cusum(
            known, np.nan_to_num(errors), step_s=stream.step_s, false_alarms_per_day=_RATE, growth=GROWTHS[0]
        ),
        "Page-Hinkley": lambda errors: page_hinkley(known, np.nan_to_num(errors)),
        "never alarming": lambda errors: np.zeros(len(errors), dtype=np.bool_),
    }


def _play(stream: ErrorStream, reference_days: float, tallies: Mapping[str, _Tally]) -> None:
    """Play a stream as it is and grown, and note what each detector did."""
    begin = round(reference_days * _DAY_S / stream.step_s)
    reference, rest = stream.errors[:begin], stream.errors[begin:]
    searched = rest[: _SEARCHED_DAYS * _DAY_S // stream.step_s]
    for name, play in _players(stream, reference).items():
        tally = tallies[name]
        tally.alarms.append(int(play(rest).sum()))
        tally.days.append(len(rest) * stream.step_s / _DAY_S)
        for growth in GROWTHS:
            found = np.flatnonzero(play(growth * searched))
            tally.delays[growth].append((int(found[0]) + 1) * stream.step_s / 3600.0 if len(found) else math.inf)


def _rate(tally: _Tally) -> float:
    return sum(tally.alarms) / sum(tally.days)


def _median(tally: _Tally, growth: float) -> float:
    return _quantile(np.array(tally.delays[growth]), 0.5)


def _found(tally: _Tally, growth: float) -> float:
    return float(np.isfinite(tally.delays[growth]).mean())


def _quantile(delays: FloatArray, level: float) -> float:
    """Return the least delay that at least ``level`` of the streams do not exceed."""
    return float(np.sort(delays)[math.ceil(level * len(delays)) - 1])


def _table(tallies: Mapping[str, _Tally], rng: np.random.Generator) -> pd.DataFrame:
    """Return a row per detector with intervals over streams."""
    rows = []
    for name, tally in tallies.items():
        alarms, days = np.array(tally.alarms), np.array(tally.days)
        draws = rng.integers(len(alarms), size=(_DRAWS, len(alarms)))
        row = {
            "detector": name,
            "false alarms a day": _with_interval(_rate(tally), alarms[draws].sum(1) / days[draws].sum(1)),
        }
        for growth in GROWTHS:
            delays = np.array(tally.delays[growth])
            medians = np.sort(delays[draws], axis=1)[:, math.ceil(0.5 * len(delays)) - 1]
            row[f"x{growth}: found"] = f"{_found(tally, growth):.0%}"
            row[f"x{growth}: median delay, h"] = _with_interval(_median(tally, growth), medians)
            row[f"x{growth}: 90 % delay, h"] = f"{_quantile(delays, 0.9):.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


def _with_interval(value: float, draws: FloatArray) -> str:
    ordered = np.sort(draws)
    low, high = ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]
    digits = 3 if value < 1.0 else 1
    return f"{value:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def _real_table(streams: Mapping[str, ErrorStream]) -> pd.DataFrame:
    """Return a row per real stream and detector."""
    rows = []
    for name, stream in streams.items():
        days = len(stream.errors) * stream.step_s / _DAY_S
        if days < 14 or 3600 % stream.step_s:
            raise ValueError(
                f"stream {name!r}: {days:.1f} days of {stream.step_s} s; expected 14 days, whole steps an hour"
            )
        tallies = {detector: _Tally() for detector in DETECTORS}
        _play(stream, min(float(REFERENCE_DAYS), days / 2.0), tallies)
        for detector, tally in tallies.items():
            row = {"series": name, "detector": detector, "alarms a day": round(_rate(tally), 3)}
            rows.append(row | {f"x{growth}: delay, h": round(_median(tally, growth), 1) for growth in GROWTHS})
    return pd.DataFrame(rows)


def _figure(tallies: Mapping[str, _Tally]) -> "Figure":
    """Return a figure: share of the streams in which a growth was found within so many hours."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(10, 4), layout="constrained")
    hours = np.linspace(0.0, 48.0, 400)
    for growth, axes in zip(GROWTHS, page.subplots(1, 2), strict=True):
        for name, tally in tallies.items():
            delays = np.array(tally.delays[growth])
            share = (delays[:, None] <= hours).mean(axis=0)
            axes.plot(hours, share, label=f"{name}, {_rate(tally):.2f} false alarms a day")
        axes.axvline(LONGEST_DELAY_HOURS[growth], color="black", lw=0.8, ls=":")
        axes.set(title=f"errors x{growth}", xlabel="hours since the growth", ylabel="share found", ylim=(0, 1.02))
    axes.legend(fontsize=8)
    return page
