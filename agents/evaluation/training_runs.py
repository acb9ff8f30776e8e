"""The shipped policy among the other runs of its training: what another training seed would have given."""

from collections.abc import Mapping

import numpy as np

from agents.evaluation.contest import BOUND, Contest
from agents.evaluation.figures import figures
from agents.evaluation.summaries import Json, estimate_content, gap_content, row_content


def runs_content(contest: Contest, runs: Mapping[str, int]) -> Json:
    """Return the ``seeds_table`` of a report and its ``gap_closed_over_seeds``, a mean over the runs.

    Args:
        contest: Played; runs that an interruption left out are left out here.
        runs: Training seed of each run's policy.
    """
    played = {name: seed for name, seed in runs.items() if name in contest.played}
    content: Json = {"seeds_table": [_row(contest, name, seed) for name, seed in played.items()]}
    if played and contest.has_bound:
        gap = contest.paired().gap_closed_over_runs(list(played), contest.best_rule, BOUND)
        content["gap_closed_over_seeds"] = {**estimate_content(gap, contest.best_rule), "seeds": len(played)}
    return content


def _row(contest: Contest, name: str, seed: int) -> Json:
    worlds, played = contest.worlds, contest.played[name]
    found = [
        figures(worlds.of(played.totals, index), worlds.of(played.longest_bad_run, index)) for index in contest.counted
    ]
    return {
        "seed": seed,
        "name": name,
        **{key: row_content(contest, name)[key] for key in ("total", "bad_minutes_fraction")},
        "gap_closed": gap_content(contest, name),
        **{
            key: round(float(np.mean([item[key] for item in found])), 6)
            for key in ("launches_per_day", "type_changes_per_day")
        },
        "worst_trace": _worst_trace(contest, name),
    }


def _worst_trace(contest: Contest, name: str) -> Json:
    """Return the trace on which a policy does worst against the best rule: its total over the rule's."""
    of = contest.worlds.of
    ours, rule = contest.played[name].total_usd, contest.played[contest.best_rule].total_usd
    ratios = {
        contest.worlds.scenarios[index].name: float(of(ours, index).sum() / of(rule, index).sum())
        for index in contest.counted
    }
    trace = max(ratios, key=lambda name: ratios[name])
    return {"trace": trace, "ratio": round(ratios[trace], 6)}
