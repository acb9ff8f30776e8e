"""Why the advice is what it is, in short sentences made of the numbers it rests on."""

from advisory.decision import Decision
from advisory.reading import Situation, near_demand_rps
from advisory.served import ServedModel
from envs.action import unit_price
from simulators.adjustments import on_demand_count
from simulators.records import LEAD_MINUTES, POLICY_STATIC, QUANTILE_LEVELS

LIMITS = (
    "Estimates come from the simulator's price list and latency table, unchecked against a live account.",
    "Cost is instances only: no load balancer, storage, data transfer, Savings Plans, taxes or spot refunds.",
    "Response times assume that CPU is what requests need, and a fleet that is whole and warm: boot time, "
    "replacement, interruptions, retries, memory and slow dependencies are left out.",
    "The policy has seen fleets of 1 to 99 instances in one region; nothing outside that was tried.",
)
_LEVEL_WORDS = {0.5: "median", **{level: f"{level} quantile" for level in QUANTILE_LEVELS if level != 0.5}}


def limits_of(situation: Situation) -> list[str]:
    """Return what the estimate leaves out."""
    found = list(LIMITS)
    if not situation.record["forecast_available"]:
        found.insert(0, "No forecast: less than a day of demand was given, so the newest value stands for all leads.")
    return found


def reasons_for(model: ServedModel, situation: Situation, decision: Decision) -> list[str]:
    """Return the sentences of a decision: demand, capacity, launch specification, spot, changes."""
    return [
        _demand(situation),
        _capacity(model, situation, decision),
        _specification(model, situation, decision),
        _spot(model, situation, decision),
        _change(model, situation, decision),
    ]


def _demand(situation: Situation) -> str:
    now = float(situation.record["demand_rps"]) / situation.work
    ahead = near_demand_rps(situation, 0.9) / situation.work
    return f"Demand is {now:.1f} requests/s; its 0.9 quantile for the next 15 minutes is {ahead:.1f}."


def _level(position: float) -> str:
    lower = min(int(position), len(QUANTILE_LEVELS) - 2)
    if position in (lower, lower + 1):
        return _LEVEL_WORDS[QUANTILE_LEVELS[int(position)]]
    return f"demand between its {QUANTILE_LEVELS[lower]} and {QUANTILE_LEVELS[lower + 1]} quantiles"


def _capacity(model: ServedModel, situation: Situation, decision: Decision) -> str:
    entry, want = model.task.menu[decision.policy], decision.want
    if want.demand_rps is None:
        if decision.scale == 0:
            return f"Policy {entry.name} goes on from the present capacity."
        return f"Policy {entry.name} starts from the present capacity and {decision.scale:+d} instances."
    demand, each = want.demand_rps / situation.work, want.dependable_rps / situation.work
    if model.menu[decision.policy]["kind"] == POLICY_STATIC:
        source = f"{entry.mean_demand_ratio:g} times mean demand"
    else:
        source = f"the {_level(entry.quantile)} of the next {LEAD_MINUTES[entry.lead]} minutes or the newest value"
    margin = f", {100 * entry.spot_margin * decision.spot_fraction:.0f} % more for its spot share" * (
        entry.spot_margin * decision.spot_fraction > 0
    )
    offset = f", {decision.scale:+d} by the agent" * (decision.scale != 0)
    text = (
        f"Policy {entry.name} provides for {demand:.1f} requests/s ({source}) at "
        f"{100 * entry.target_utilization:.0f} % of {each:.1f} requests/s per instance{margin}{offset}: "
        f"{want.need_now} instances."
    )
    if want.capacity > want.need_now:
        text += f" It keeps {want.capacity}, for the need of the last {entry.hold_minutes} minutes."
    return text


def _specification(model: ServedModel, situation: Situation, decision: Decision) -> str:
    record, names = situation.record, model.specification_names
    prices = [unit_price(record, spec, decision.spot_fraction) * situation.work for spec in range(len(names))]
    order = sorted(range(len(names)), key=lambda spec: prices[spec])
    own = 1e3 * prices[decision.spec]
    place = order.index(decision.spec) + 1
    text = f"{names[decision.spec]} costs {own:.3f} USD per hour and 1000 requests/s of capacity"
    if place == 1:
        return f"{text}, the least of {len(names)} launch specifications."
    return f"{text}, number {place} of {len(names)}; {names[order[0]]} costs {1e3 * prices[order[0]]:.3f}."


def _spot(model: ServedModel, situation: Situation, decision: Decision) -> str:
    record, spec = situation.record, decision.spec
    spot, listed = (float(record[f"candidate_{market}_usd_per_hour"][spec]) for market in ("spot", "on_demand"))
    on_demand = on_demand_count(decision.capacity, int(model.physics["on_demand_base"]), 1.0 - decision.spot_fraction)
    taken = float(record["minutes_since_interruption"][spec])
    refused = float(record["minutes_since_launch_failure"][spec])
    calm = "none is known to have been taken back or refused for a day"
    troubles = [
        f"the last {word} was {minutes:.0f} minutes ago"
        for word, minutes in (("interruption", taken), ("refused launch", refused))
        if minutes < 1440
    ]
    return (
        f"{100 * decision.spot_fraction:.0f} % spot leaves {on_demand} of {decision.capacity} instances "
        f"on demand: spot is {spot:.4f} USD per hour against {listed:.4f}, "
        f"and {' and '.join(troubles) or calm}."
    )


def _change(model: ServedModel, situation: Situation, decision: Decision) -> str:
    record, names = situation.record, model.specification_names
    desired, spec = int(record["desired"]), int(record["spec"])
    changes = []
    if decision.capacity != desired:
        changes.append(f"desired capacity {desired} to {decision.capacity}")
    if decision.spec != spec:
        changes.append(f"launch specification {names[spec]} to {names[decision.spec]}, by a rolling replacement")
    if abs(decision.spot_fraction - float(record["spot_fraction"])) > 1e-9:
        changes.append(
            f"spot share {100 * float(record['spot_fraction']):.0f} % to {100 * decision.spot_fraction:.0f} %"
        )
    if decision.policy != int(record["policy"]):
        old, new = model.policy_names[int(record["policy"])], model.policy_names[decision.policy]
        changes.append(f"scaling policy {old} to {new}")
    return f"Changes: {'; '.join(changes)}." if changes else "Nothing changes."
