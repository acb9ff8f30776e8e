"""Simulated markets of one kind of hot pool, and the laws under which they show recorded spells."""

import numpy as np

from simulators.catalogue import Catalogue
from simulators.market import MarketTape, draw_market
from simulators.market_settings import HotGroup, MarketSettings
from simulators.validation.spot_statistics import Spells, log_moments, pooled, probe, spells

DAYS = 42
_ROUNDS = 16
_PACE = 0.7
_TAPES_A_ROUND = 8


def only_hot(settings: MarketSettings, group: HotGroup) -> MarketSettings:
    """Return settings under which every pool is of one hot kind."""
    return settings.model_copy(
        update={"hot_share_by_band": (1.0,) * 5, "hot_groups": {"only": group.model_copy(update={"weight": 1.0})}}
    )


def hot_tapes(settings: MarketSettings, group: HotGroup, catalogue: Catalogue, *, tapes: int) -> list[MarketTape]:
    """Draw markets of ``DAYS`` days in which every pool is of one hot kind, seeds 0, 1, ..."""
    market = only_hot(settings, group)
    return [draw_market(catalogue, days=DAYS, seed=seed, settings=market) for seed in range(tapes)]


def probed_spells(tapes: list[MarketTape], step_s: int) -> Spells:
    """Return the spells of all pools of several tapes, as probes every ``step_s`` seconds show them."""
    parts = []
    for tape in tapes:
        up = probe(tape, step_s)
        parts += [spells(up[:, pool], step_s) for pool in range(up.shape[1])]
    return pooled(parts)


def match_group(
    recorded: Spells, availability: float, step_s: int, settings: MarketSettings
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the laws (up, dry) under which simulated spells have the recorded mean and spread of ln hours.

    Pressure and contagion change the spells, so the laws on the pools' own clocks differ from the recorded ones. Each
    round simulates, compares, and moves both moments of both laws by part of what is missing.
    """
    catalogue = Catalogue()
    wanted = np.array([log_moments(recorded.up), log_moments(recorded.dry)])
    law = wanted.copy()
    for _ in range(_ROUNDS):
        group = HotGroup(weight=1, availability=availability, up=_law(law[0]), dry=_law(law[1]))
        seen = probed_spells(hot_tapes(settings, group, catalogue, tapes=_TAPES_A_ROUND), step_s)
        shown = np.array([log_moments(seen.up), log_moments(seen.dry)])
        law[:, 0] += _PACE * (wanted[:, 0] - shown[:, 0])
        variance = law[:, 1] ** 2 + _PACE * (wanted[:, 1] ** 2 - shown[:, 1] ** 2)
        law[:, 1] = np.sqrt(np.clip(variance, 0.04, 9.0))
    return _law(law[0]), _law(law[1])


def _law(row: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    return float(row[0]), float(row[1])
