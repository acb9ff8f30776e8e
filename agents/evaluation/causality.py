"""Nobody knows the future: a later change may move no earlier action, forecast, score or tick.

Each check plays or computes something twice, on data that agree up to a moment and differ after it, compares what came
before bit by bit, and returns findings, one line each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.policies import Policy
from agents.rollout import Windows, play
from envs.settings import TaskSettings
from forecasting.annotate import annotate
from forecasting.demand.events import KnownEvent
from forecasting.hourly import hourly_load_forecast
from simulators.bank import Bank
from simulators.records import QUANTILE_LEVELS, TELEMETRY, TICKS_PER_ROW
from simulators.scenario import Scenario
from telemetry.resample import TickSeries
from telemetry.trace import Trace

PolicyMaker = Callable[[Bank], Policy]
Resampler = Callable[[Trace], TickSeries]

_OF_TICKS: Final = ("pool_state", "reclaim", "rebalance_lead", "zone_down", "events")
_OF_HOURS: Final = ("spot_usd_per_s", "candidate_spot_usd_per_hour")
_HOUR: Final = 60
_MOST_ON_A_LINE: Final = 0.5


@dataclass
class Recorded:
    """A policy, and what it saw and did at each decision."""

    policy: Policy
    readings: list[NDArray[np.void]] = field(default_factory=list)
    actions: list[NDArray[np.int64]] = field(default_factory=list)

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the policy's actions, [B, 4]."""
        self.readings.append(readings.copy())
        self.actions.append(np.array(self.policy.act(readings)))
        return self.actions[-1]


def changed_future(bank: Bank, tick: int) -> Bank:
    """Return worlds that are the same up to a tick and have another future: demand, forecasts, scores and market.

    Demand from ``tick`` on doubles and is served in another order, forecasts of later rows are multiplied, scores are
    turned over; what the market does later happens in the opposite order, at higher prices. What a market tape has
    already played, it may play again. A tape that has ended by then has no future.
    """
    arrays = {name: array.copy() for name, array in bank._asdict().items()}
    for tape in bank.tapes:
        start, length = int(tape["start"]), int(tape["length"])
        if length <= tick:
            continue
        later = slice(start + tick, start + length)
        demand = 2.0 * bank.demand_rps[later][::-1] + 0.1 * float(tape["mean_demand_rps"])
        arrays["demand_rps"][later] = demand
        total = arrays["demand_total"]
        sums = total[start + tick] + np.cumsum(arrays["demand_rps"][later], dtype=np.float64)
        total[start + tick + 1 : start + length] = sums[:-1]
        row, rows = int(tape["row_start"]), -(-length // TICKS_PER_ROW)
        ahead = slice(row + tick // TICKS_PER_ROW + 1, row + rows)
        arrays["forecast_rps"][ahead] *= 1.5
        arrays["anomaly_score"][ahead] = 1.0 - arrays["anomaly_score"][ahead]
    for market in range(len(bank.pool_state)):
        ticks, hours = _not_played(bank, market, tick)
        for name in _OF_TICKS:
            arrays[name][market, ticks] = bank._asdict()[name][market, ticks[::-1]]
        for name in _OF_HOURS:
            arrays[name][market, hours] = 1.25 * bank._asdict()[name][market, hours[::-1]]
    return Bank(**arrays)


def _not_played(bank: Bank, market: int, tick: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ticks and hours of a market tape that no world has reached before ``tick``, nor the hour it is in."""
    ticks, hours = bank.pool_state.shape[1], bank.spot_usd_per_s.shape[1]
    new_tick, new_hour = np.ones(ticks, np.bool_), np.ones(hours, np.bool_)
    for world in bank.worlds[bank.worlds["market"] == market]:
        past = np.arange(-_HOUR, tick) + int(world["market_phase"])
        new_tick[past % ticks] = False
        new_hour[np.append(past, past[-1] + 1) // _HOUR % hours] = False
    return np.flatnonzero(new_tick), np.flatnonzero(new_hour)


def check_policy_causality(
    make_policy: PolicyMaker, bank: Bank, task: TaskSettings, windows: Windows, tick: int
) -> list[str]:
    """Return where a policy acts on something that telemetry does not tell it yet: the first time of each fleet.

    It plays the same worlds twice, and before the second play their arrays are overwritten in place with another future
    from ``tick`` on. Up to then it must act the same, bit by bit. This finds whatever looks at the worlds it is played
    in, however it got hold of them; it cannot find a policy that brings its own copy of a trace along.

    Args:
        make_policy: Makes the policy anew for given worlds; an honest one leaves them alone.
        bank: Worlds; not changed.
        task: Action settings and menu.
        windows: What to play; ``tick`` should lie inside.
        tick: First tick that differs, counted from the start of the tape.

    Raises:
        ValueError: Nothing that the policy sees differs afterwards, so the check would show nothing.
    """
    own = Bank(**{name: array.copy() for name, array in bank._asdict().items()})
    first = _record(make_policy, own, task, windows)
    for name, other in changed_future(bank, tick)._asdict().items():
        getattr(own, name)[...] = other
    second = _record(make_policy, own, task, windows)
    at = [windows.starts + number * task.decision_minutes for number in range(len(first.actions))]
    told, acted = _unlike_rows(first.readings, second.readings), _unlike_rows(first.actions, second.actions)
    early = np.stack(at) <= tick
    if not (told & ~early).any():
        raise ValueError(f"no fleet sees another future from tick {tick} on; choose a tick inside the windows")
    findings = []
    for fleet, differs in enumerate((early & (told | acted)).T):
        if not differs.any():
            continue
        number = int(differs.argmax())
        where = f"fleet {fleet}, tick {at[number][fleet]}:"
        if told[number, fleet]:
            pairs = (first.readings[number][fleet], second.readings[number][fleet])
            names = [name for name in TELEMETRY.names or () if pairs[0][name].tobytes() != pairs[1][name].tobytes()]
            findings.append(f"{where} telemetry tells of what begins at tick {tick}: {', '.join(names)}")
        else:
            one, two = (item.actions[number][fleet].tolist() for item in (first, second))
            findings.append(
                f"{where} the policy answers the same telemetry with {one} and, where the future from tick {tick} on "
                f"is another, with {two}: it peeks, or draws at random without a seed"
            )
    return findings


def _unlike_rows(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Return [decisions, fleets] where two records differ in any bit."""
    pairs = zip(first, second, strict=True)
    return np.array([[one.tobytes() != two.tobytes() for one, two in zip(*pair, strict=True)] for pair in pairs])


def _record(make_policy: PolicyMaker, bank: Bank, task: TaskSettings, windows: Windows) -> Recorded:
    recorded = Recorded(make_policy(bank))
    play(recorded, bank, task, windows)
    return recorded


def check_annotation_causality(
    scenario: Scenario, tick: int, *, metric_delay_ticks: int = 1, events: Sequence[KnownEvent] = ()
) -> list[str]:
    """Return where a scenario's forecasts and scores are not what its past alone gives.

    They are worked out again from the demand before ``tick``. Forecasts may be the forecaster's, its median, or the
    last value (``simulators.scenario.Forecasts``); those made of the future itself are found.

    Args:
        scenario: A demand tape with its annotation.
        tick: How much of it is shown; a whole number of hours.
        metric_delay_ticks: As the scenario was made with.
        events: Known events it was made with.

    Raises:
        ValueError: ``tick`` is no whole number of hours inside the tape.
    """
    if tick % _HOUR or not 0 < tick <= len(scenario.demand_rps):
        raise ValueError(f"tick is {tick}; expected a multiple of {_HOUR} up to {len(scenario.demand_rps)}")
    delivered = np.where(scenario.metric_gap, np.nan, scenario.demand_rps.astype(np.float64))[:tick]
    again = annotate(delivered, ticks_per_row=TICKS_PER_ROW, delay_ticks=metric_delay_ticks, events=events)
    rows = len(again.forecast_rps)
    given = scenario.annotation
    median = again.forecast_rps[:, :, QUANTILE_LEVELS.index(0.5), None]
    visible = np.clip(TICKS_PER_ROW * np.arange(rows) - 1 - metric_delay_ticks, 0, None)
    honest = (again.forecast_rps, median, scenario.demand_rps[visible][:, None, None])
    forecasts = max(_first_unlike(given.forecast_rps[:rows], item) for item in honest)
    parts = {
        "forecasts": forecasts,
        "anomaly scores": _first_unlike(given.anomaly_score[:rows], again.anomaly_score),
        "hourly forecasts": _first_unlike(
            scenario.predictive_rps[: tick // _HOUR], hourly_load_forecast(delivered, scenario.minute_of_week)
        ),
    }
    per_row = {"hourly forecasts": _HOUR}
    return [
        f"{scenario.name}: {name} of tick {int(row) * per_row.get(name, TICKS_PER_ROW)} are not what its past gives"
        for name, row in parts.items()
        if np.isfinite(row)
    ]


def check_scenarios(scenarios: Sequence[Scenario], *, metric_delay_ticks: int = 1) -> list[str]:
    """Return what ``check_annotation_causality`` finds in scenarios shown as far as the middle of what is played."""
    findings = []
    for item in scenarios:
        middle = (item.first_tick + item.last_tick) // 2 // _HOUR * _HOUR
        findings += check_annotation_causality(item, middle, metric_delay_ticks=metric_delay_ticks)
    return findings


def _first_unlike(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the first row that differs, infinity where none does; NaN equals NaN."""
    same = (given == expected) | (np.isnan(given) & np.isnan(expected))
    rows = np.flatnonzero(~same.reshape(len(same), -1).all(axis=1))
    return float(rows[0]) if len(rows) else np.inf


def check_resampling_causality(resample: Resampler, trace: Trace, step: int) -> list[str]:
    """Return which ticks of a resampled trace, whole before a step begins, change with what comes from it on.

    Args:
        resample: From trace to ticks.
        trace: Any trace; not changed.
        step: First step that differs.
    """
    values = trace.values.copy()
    values[step:] = 3.0 * values[step:] + 1.0
    before, after = resample(trace), resample(replace(trace, values=values))
    tick_s = trace.step_s * len(trace.values) // len(before.values)
    early = slice(0, step * trace.step_s // tick_s)
    moved = np.flatnonzero(before.values[early] != after.values[early])
    if not len(moved):
        return []
    seconds = int(step * trace.step_s - moved[0] * tick_s)
    return [
        f"{trace.name}: {len(moved)} ticks change with step {step}, the first of them {seconds} s before it begins: "
        f"from {before.values[moved[0]]:.6g} to {after.values[moved[0]]:.6g}"
    ]


def check_no_line(name: str, values: NDArray[np.float64]) -> list[str]:
    """Return whether a series was filled in along straight lines, which lead toward values not known yet.

    On a line the slope of one tick is, within rounding, that of the next. Level stretches are no sign: values are held.
    """
    slopes = np.diff(values)
    room = 1e-6 * float(np.abs(values).max(initial=0.0))
    moving = np.abs(slopes[1:]) > room
    straight = moving & (np.abs(np.diff(slopes)) <= room)
    share = float(straight.sum() / max(1, moving.sum()))
    if share <= _MOST_ON_A_LINE:
        return []
    return [f"{name}: {100 * share:.0f} % of the ticks that move continue a straight line; it was interpolated"]
