"""The same scenarios in worlds that are not as expected: a hot market, slow starts, other instance speeds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from agents.evaluation.contest import Contest, Progress
from agents.evaluation.playing import Desk
from agents.evaluation.studies import Players, elsewhere, part_of, shown_names, summary_of
from agents.evaluation.summaries import PATTERN, Json, groups, summary
from agents.evaluation.worlds import make_worlds
from envs.settings import TaskSettings
from simulators.catalogue import Catalogue
from simulators.market import MarketSettings

AS_TESTED: Final = "as tested"


@dataclass(frozen=True)
class Variant:
    """Another world.

    Attributes:
        task: Its physics.
        catalogue: Its instance types.
        market: Settings of its markets.
    """

    task: TaskSettings
    catalogue: Catalogue
    market: MarketSettings


def _hot_market(variant: Variant) -> Variant:
    return replace(variant, market=MarketSettings(hot_share_by_band=(1.0,) * 5))


def _slow_start(variant: Variant) -> Variant:
    world = variant.task.world
    physics = world.physics.model_copy(
        update={
            "boot_median_s": 2.0 * world.physics.boot_median_s,
            "app_median_s": 2.0 * world.physics.app_median_s,
        }
    )
    slow = world.model_copy(update={"physics": physics})
    return replace(variant, task=variant.task.model_copy(update={"world": slow}))


def _graviton(factor: float) -> Callable[[Variant], Variant]:
    """Return a change of what an arm64 vCPU does, the reference type's staying what it is."""

    def change(variant: Variant) -> Variant:
        types = tuple(
            replace(item, coremark_per_vcpu=factor * item.coremark_per_vcpu) if item.architecture == "arm64" else item
            for item in variant.catalogue.types
        )
        return replace(variant, catalogue=Catalogue(types, variant.catalogue.candidates))

    return change


VARIANTS: Final[dict[str, Callable[[Variant], Variant]]] = {
    "every spot pool hot": _hot_market,
    "boot and application start doubled": _slow_start,
    "arm64 compute units +20 %": _graviton(1.2),
    "arm64 compute units -20 %": _graviton(0.8),
}


def shift_table(contest: Contest, players: Players, desk: Desk, say: Progress) -> Json:
    """Return a summary of each variant, of the same markets as tested, and of each held-out pattern.

    Nobody is calibrated or trained again.
    """
    part = part_of(contest)
    table = {AS_TESTED: summary_of(part)}
    for name, change in VARIANTS.items():
        say(name)
        variant = change(Variant(players.task, players.task.catalogue(), MarketSettings()))
        worlds = make_worlds(
            part.worlds.scenarios,
            variant.task,
            seeds=part.worlds.seeds,
            days=part.worlds.market_days,
            catalogue=variant.catalogue,
            market=variant.market,
            apart=part.worlds.apart,
        )
        table[name] = summary_of(elsewhere(part, players, worlds, variant.task, desk))
    for index in groups(contest).get(PATTERN, []):
        name = contest.worlds.scenarios[index].name.partition("#")[0]
        table[f"pattern {name}"] = summary(contest, shown_names(part), [index])
    return table
