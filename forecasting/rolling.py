"""Forecasts as an operator would have had them, from rolling origins, and scores over the rows of a file."""

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.anomaly.detector import AnomalyDetector, one_column, read_series
from forecasting.base import FloatArray
from forecasting.demand.binned import demand_forecaster
from telemetry.trace import Rows, Trace

ROLLING_LEVELS = (0.1, 0.5, 0.9)
HISTORY_SHARE = 0.30
_UNIT_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_TIME = pa.timestamp("ms", tz="UTC")


def duration_s(text: str) -> int:
    """Return the seconds of a duration such as ``90s``, ``30m``, ``6h`` or ``1d``.

    Raises:
        ValueError: anything else.
    """
    match = re.fullmatch(r"(\d+)\s*(s|m|min|h|d)", text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a duration; expected a whole number above 0 and s, m, h or d, like 6h")
    return int(match[1]) * _UNIT_S[match[2]]


def rolling_forecasts(
    trace: Trace,
    *,
    every_s: int,
    horizon_s: int,
    watch: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> pa.Table:
    """Forecast a trace from origin after origin, each seeing only what came before it.

    The first origin is the last step of the first 30 %, on which the forecaster chooses its parameters; the
    last one leaves room for a whole horizon. Held values count as missing. Durations are rounded down to
    whole steps.

    Args:
        trace: the series.
        every_s: seconds between origins.
        horizon_s: how far to forecast, in seconds.
        watch: passes the origins through, for a progress bar.

    Returns:
        A table ``origin, timestamp, q0.1, q0.5, q0.9``, a row per origin and step of the horizon, in the
        trace's unit. ``origin`` is the stamp of the last known value.

    Raises:
        ValueError: a duration shorter than a step, or a trace too short for one origin.
    """
    every, horizon = every_s // trace.step_s, horizon_s // trace.step_s
    if every < 1 or horizon < 1:
        raise ValueError(f"origins every {every_s} s, horizon {horizon_s} s: shorter than a step of {trace.step_s} s")
    history = int(HISTORY_SHARE * len(trace.values))
    origins = range(history - 1, len(trace.values) - horizon, every)
    if history < 1 or not origins:
        raise ValueError(
            f"trace {trace.name!r} has {len(trace.values)} steps of {trace.step_s} s: "
            f"too short for a horizon of {horizon} steps after its first 30 %"
        )
    values = np.where(trace.imputed, np.nan, trace.values)
    forecaster = demand_forecaster(trace.step_s, longest_s=horizon * trace.step_s).fit(values[:history])
    known = history
    forecasts = []
    leads = np.arange(1, horizon + 1)
    for origin in watch(origins):
        forecaster.feed(values[known : origin + 1])
        known = origin + 1
        forecasts.append(forecaster.forecast(leads.tolist(), ROLLING_LEVELS))
    origin_steps = np.repeat(np.asarray(origins), horizon)
    return _forecast_table(trace, origin_steps, origin_steps + np.tile(leads, len(origins)), np.concatenate(forecasts))


def score_rows(rows: Rows) -> tuple[pa.Table, tuple[str, ...]]:
    """Score every row of a file in the file's order, each from the rows above it only.

    Returns:
        A table ``timestamp, value, score, event, extent``, and a note for each oddity of the order, to be printed.
        ``event`` says how unusual a row is where something new happens and is 0 elsewhere, ``extent`` how far into
        something unusual the series is; ``score`` joins both, events above one half and the extent below it.
    """
    steps = np.diff(rows.seconds)
    forward = steps[steps > 0]
    step_s = float(np.clip(np.median(forward), 1, 86_400)) if forward.size else 300.0
    found = read_series(AnomalyDetector(step_s=step_s), np.where(rows.imputed, np.nan, rows.values))
    notes = []
    for what, odd in (("goes back in time", steps < 0), ("repeats a time", steps == 0)):
        if odd.any():
            notes.append(
                f"column 'timestamp': row {int(np.argmax(odd)) + 2} {what} ({int(odd.sum())} such rows): "
                "scored in the file's order"
            )
    value = pa.array(rows.values, mask=np.isnan(rows.values))
    scores = {"score": one_column(found), "event": found.event, "extent": found.extent}
    table = pa.table({"timestamp": _stamps(rows.seconds), "value": value} | scores)
    return table, (*rows.repairs, *notes)


def _forecast_table(
    trace: Trace, origin_steps: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], forecasts: FloatArray
) -> pa.Table:
    start_s = int(trace.start.astype(np.int64))
    columns = {"origin": origin_steps, "timestamp": steps}
    stamped = {name: _stamps(start_s + trace.step_s * at) for name, at in columns.items()}
    quantiles = {f"q{level}": forecasts[:, column] for column, level in enumerate(ROLLING_LEVELS)}
    return pa.table(stamped | quantiles)


def _stamps(seconds: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(np.asarray(seconds, dtype=np.int64) * 1000).cast(_TIME)
