"""Spot futures: which types may be hot, and windows of simulated hot markets whose past looks like what was seen.

A type is either calm or hot for as long as it is looked at (``simulators.market_settings``). The chance that it is hot
follows Bayes' rule from its Spot Advisor band, the time it was used, and how often it was interrupted or refused. Calm
pools are taken to hold for the length of a plan (one is interrupted once in months). Hot ones play a window of a
library of hot markets: one that follows an interruption or a refusal as recent as the last one seen, one that begins
with room where the type is in use, any other where nothing is known. Types are drawn one by one, zones together.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, draw_market
from simulators.records import AMPLE, DRY, ZONES
from telemetry.splits import load_splits

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_DAYS: Final = 10
_TAPES: Final = 6
_FIRST_SEED: Final = 900_000
_CALM_HAZARD_PER_HOUR: Final = 2e-4
_RECENT_MINUTES: Final = 180


class SpotWindows(NamedTuple):
    """[B, F, H, K x Z] pool state, share reclaimed in 1/255, and minutes until an announced reclaim."""

    pool_state: NDArray[np.uint8]
    reclaim: NDArray[np.uint8]
    rebalance_lead: NDArray[np.uint8]


@dataclass(frozen=True)
class HotLibrary:
    """Markets in which every type is hot, drawn with seeds of the training range.

    Attributes:
        pool_state: [M, T, K, Z].
        reclaim: [M, T, K, Z].
        rebalance_lead: [M, T, K, Z].
        prior: [K] chance that a type is hot.
        hazard_per_hour: Reclaims of a hot type.
        reclaimed: (tape, tick, type) of every reclaim.
        dry: (tape, tick, type) of ticks at which some zone of a type is dry.
        room: (tape, tick, type) of ticks at which no zone is.
    """

    pool_state: NDArray[np.uint8]
    reclaim: NDArray[np.uint8]
    rebalance_lead: NDArray[np.uint8]
    prior: FloatArray
    hazard_per_hour: float
    reclaimed: IntArray
    dry: IntArray
    room: IntArray


def draw_library(catalogue: Catalogue) -> HotLibrary:
    """Draw the hot markets of a catalogue's types."""
    settings = MarketSettings()
    hot = settings.model_copy(update={"hot_share_by_band": (1.0,) * len(settings.hot_share_by_band)})
    seeds = load_splits().seed_range("train")
    tapes = [draw_market(catalogue, days=_DAYS, seed=seeds[_FIRST_SEED + tape], settings=hot) for tape in range(_TAPES)]
    kinds = len(catalogue.types)

    def by_zone(name: str) -> NDArray[np.uint8]:
        return np.stack([getattr(tape, name) for tape in tapes]).reshape(_TAPES, -1, kinds, ZONES)

    state, reclaim = by_zone("pool_state"), by_zone("reclaim")
    taken: NDArray[np.bool_] = np.asarray(reclaim.any(axis=3))
    taken[:, 1:] &= ~taken[:, :-1]
    return HotLibrary(
        pool_state=state,
        reclaim=reclaim,
        rebalance_lead=by_zone("rebalance_lead"),
        prior=np.array([settings.hot_share_by_band[item.interruption_band] for item in catalogue.types]),
        hazard_per_hour=float(taken.mean()) * 60.0,
        reclaimed=np.argwhere(taken),
        dry=np.argwhere((state == DRY).any(axis=3)),
        room=np.argwhere((state == AMPLE).all(axis=3)),
    )


def hot_chance(library: HotLibrary, used_hours: FloatArray, events: FloatArray) -> FloatArray:
    """Return [B, K] the chance that each type is hot.

    Args:
        library: Prior and hazard of hot types.
        used_hours: [B, K] hours a fleet had spot instances of the type.
        events: [B, K] interruptions and refusals seen.
    """
    hot, calm = library.hazard_per_hour, _CALM_HAZARD_PER_HOUR
    log_odds = np.log(library.prior / (1.0 - library.prior))
    log_odds = log_odds + events * np.log(hot / calm) - (hot - calm) * used_hours
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0))))


@dataclass(frozen=True)
class SpotEvidence:
    """What an account has seen of each type, [B, K].

    Attributes:
        hot_chance: 0..1.
        minutes_since_reclaim: Since the last interruption; large if none.
        minutes_since_refusal: Since the last failed launch; large if none.
        in_use: Whether the fleet has spot instances of the type.
    """

    hot_chance: FloatArray
    minutes_since_reclaim: IntArray
    minutes_since_refusal: IntArray
    in_use: NDArray[np.bool_]


def draw_windows(
    library: HotLibrary, evidence: SpotEvidence, *, futures: int, minutes: int, rng: np.random.Generator
) -> SpotWindows:
    """Draw spot futures; of F futures a type is hot in its chance times F of them, rounded at random.

    The random numbers are shared by all fleets, so a fleet's futures do not depend on who else is in the batch.
    """
    fleets, kinds = evidence.hot_chance.shape
    turn = rng.permuted(np.tile(np.arange(futures), (kinds, 1)), axis=1).T
    threshold = (turn + rng.random(kinds)) / futures
    is_hot = threshold[None] < evidence.hot_chance[:, None, :]
    pick = rng.random((futures, kinds))
    shape = (fleets, futures, minutes, kinds, ZONES)
    windows = SpotWindows(*(np.zeros(shape, np.uint8) for _ in range(3)))
    for fleet, future, kind in np.argwhere(is_hot):
        tape, start, source = _window(library, evidence, fleet, kind, pick[future, kind], minutes)
        part = slice(start, start + minutes)
        for window, tapes in zip(windows, (library.pool_state, library.reclaim, library.rebalance_lead), strict=True):
            window[fleet, future, :, kind] = tapes[tape, part, source]
    return SpotWindows(*(part.reshape(fleets, futures, minutes, kinds * ZONES) for part in windows))


def _window(
    library: HotLibrary, evidence: SpotEvidence, fleet: int, kind: int, pick: float, minutes: int
) -> tuple[int, int, int]:
    """Return tape, first tick and type of a window that suits what was seen of a type; hot types are alike."""
    reclaim = int(evidence.minutes_since_reclaim[fleet, kind])
    refusal = int(evidence.minutes_since_refusal[fleet, kind])
    tapes, length = library.pool_state.shape[:2]
    if min(reclaim, refusal) <= _RECENT_MINUTES:
        events, after = (library.reclaimed, reclaim) if reclaim < refusal else (library.dry, refusal)
    elif evidence.in_use[fleet, kind]:
        events, after = library.room, 0
    else:
        tape, tick = divmod(int(pick * tapes * length), length)
        return tape, min(tick, length - minutes), kind
    tape, tick, source = events[int(pick * len(events))]
    return int(tape), int(min(tick + after, length - minutes)), int(source)
