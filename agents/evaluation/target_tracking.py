"""The learned policy against what most operators run: target tracking, calibrated, and the same all on demand."""

from typing import Final

from agents.evaluation.actions import constant_name
from agents.evaluation.contest import Contest
from agents.evaluation.figures import bill_at_equal_bad_minutes
from agents.evaluation.statistics import PairedTotals
from agents.evaluation.summaries import Json, estimate_content, row_content
from agents.evaluation.waterfall import waterfall_content

TARGET_TRACKING: Final = "target-tracking"


def target_tracking_content(contest: Contest, policy: str) -> Json:
    """Return what a policy saves against each calibrated target tracking, and against the same without spot.

    ``calibrated``: share saved of the total, share of bad minutes less, and the bill at no more bad minutes (the rival
    re-calibrated along its own front). ``on_demand``: share saved of the bill, both shares of bad minutes, and where
    the saving comes from. Empty lists where the rivals were not played.

    Args:
        contest: Played, with its fronts.
        policy: Name.
    """
    names = [name for name in contest.names("aws") if name.startswith(TARGET_TRACKING)]
    without_spot = [found for name in names if (found := on_demand_name(name)) in contest.played]
    paired = contest.paired()
    return {
        "calibrated": [_calibrated(contest, paired, policy, name) for name in names],
        "on_demand": [_on_demand(contest, policy, name) for name in without_spot],
    }


def on_demand_name(rule: str) -> str:
    """Return what the constant action is called that is a rule's scaling on the cheapest instances, on demand."""
    return constant_name(rule, rank=1, spot_percent=0)


def _calibrated(contest: Contest, paired: PairedTotals, policy: str, rival: str) -> Json:
    ours, theirs = (row_content(contest, name)["bad_minutes_fraction"] for name in (policy, rival))
    equal = bill_at_equal_bad_minutes(contest, policy, contest.counted, rival=rival)
    return {
        "name": rival,
        "total_saved": estimate_content(paired.saving(policy, rival), rival),
        "bad_minutes_less": round(1.0 - ours / theirs, 6) if theirs else None,
        "bill_at_equal_bad_minutes": estimate_content(equal, rival),
    }


def _on_demand(contest: Contest, policy: str, rival: str) -> Json:
    ours, theirs = row_content(contest, policy), row_content(contest, rival)
    return {
        "name": rival,
        "bill_saved": round(1.0 - ours["bill"] / theirs["bill"], 6),
        "bad_minutes_fraction": [ours["bad_minutes_fraction"], theirs["bad_minutes_fraction"]],
        "bill": [ours["bill"], theirs["bill"]],
        "waterfall": waterfall_content(contest, policy, rival, contest.counted)["over_reference"],
    }
