"""The planner beside the rules and the bound, on a part of the test worlds that it can afford."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from agents.evaluation.contest import Contest
from agents.evaluation.playing import Desk
from agents.evaluation.store import as_arrays, as_played, identity
from agents.evaluation.studies import Players, elsewhere, summary_of
from agents.evaluation.summaries import Json, row_content
from agents.evaluation.worlds import make_worlds
from agents.policies import Policy

PLANNER: Final = "planner"
_DAYS: Final = 2


def planner_table(contest: Contest, players: Players, make: Callable[[], Policy], what: str, desk: Desk) -> Json:
    """Return a summary of the planner, the rules, the learned policy and the bound on the planner's windows.

    Those are the first two days of each scenario, in one market; ``gap_closed`` is the planner's, and
    ``per_trace`` holds the total of each of them on each scenario.

    Args:
        contest: Played.
        players: Who played it.
        make: Makes a fresh planner.
        what: Its settings, in words.
        desk: Where results are kept.
    """
    scenarios = [
        replace(item, last_tick=min(item.last_tick, item.first_tick + 1440 * _DAYS))
        for item in contest.worlds.scenarios
    ]
    tested = contest.worlds
    worlds = make_worlds(scenarios, players.task, seeds=tested.seeds[:1], days=tested.market_days, apart=tested.apart)
    part = elsewhere(contest, players, worlds, players.task, desk)
    key = identity("planner", *worlds.identities, players.task.model_dump_json(), what)
    arrays = desk.store.get(key, lambda: as_arrays(desk.play(make(), worlds, players.task)))
    part.played[PLANNER], part.kinds[PLANNER] = as_played(arrays), PLANNER
    return {
        "windows": f"The first {_DAYS} days of each scenario, in one market. The gap closed is the planner's.",
        **summary_of(replace(part, learned=PLANNER)),
        "per_trace": {
            item.name: {name: row_content(part, name, [index])["total"] for name in part.played}
            for index, item in enumerate(scenarios)
        },
    }
