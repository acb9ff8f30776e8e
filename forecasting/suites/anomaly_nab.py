"""The NAB part of the anomaly suite: scores with thresholds from the other half of the files, VUS-PR, rivals beside."""

import math
from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.anomaly.detector import AnomalyDetector, Reading, one_column, read_series
from forecasting.anomaly.members import IsolationForestDetector, LstmAutoencoderDetector, OneClassSvmDetector
from forecasting.metrics.nab import PROFILES, Profile, best_threshold, nab_score, sweep
from forecasting.metrics.vus import acf_window, vus_pr
from telemetry.check import Check
from telemetry.labelled import LabelledSeries

FloatArray = npt.NDArray[np.float64]
Scores = list[FloatArray]

SPLITS: Final = 20
_REST_S: Final = 12 * 3600.0
_CENTRED: Final = 150
_MEMBERS: Final = (IsolationForestDetector, OneClassSvmDetector, LstmAutoencoderDetector)
_MEMBER_REFIT: Final = 4000
_NAB: Final = "HTM 68.2 and RCF 48.9 over all 58 files"


def halves(series: Sequence[LabelledSeries], seed: int) -> list[npt.NDArray[np.bool_]]:
    """Return 20 random halves of the files, each folder cut in two, and their complements: 40 masks."""
    rng = np.random.default_rng([seed, 0x4AB])
    groups = np.array([one.group for one in series])
    masks = []
    for _ in range(SPLITS):
        half = np.zeros(len(series), dtype=np.bool_)
        for group in np.unique(groups):
            files = rng.permutation(np.flatnonzero(groups == group))
            half[files[: (len(files) + int(rng.integers(2))) // 2]] = True
        masks += [half, ~half]
    return masks


def held_out_scores(series: Sequence[LabelledSeries], scores: Scores, profile: Profile, seed: int) -> FloatArray:
    """Return the NAB score of each of 40 halves at the best threshold of the files outside it."""
    sweeps = [sweep(score, one.windows, profile) for score, one in zip(scores, series, strict=True)]
    found = []
    for mask in halves(series, seed):
        tuned = best_threshold([one for one, use in zip(sweeps, mask, strict=True) if use])
        found.append(nab_score([one for one, use in zip(sweeps, mask, strict=True) if not use], tuned, profile))
    return np.array(found)


def corpus_score(series: Sequence[LabelledSeries], scores: Scores, profile: Profile) -> float:
    """Return the NAB score at the best threshold of the same files, as the public board has it."""
    sweeps = [sweep(score, one.windows, profile) for score, one in zip(scores, series, strict=True)]
    return nab_score(sweeps, best_threshold(sweeps), profile)


def mean_vus(series: Sequence[LabelledSeries], scores: Scores, windows: Sequence[int]) -> float:
    """Return the mean VUS-PR over the files that have an event."""
    volumes = [
        vus_pr(one.is_anomaly, score, window)
        for one, score, window in zip(series, scores, windows, strict=True)
        if one.is_anomaly.any()
    ]
    return float(np.mean(volumes))


def only_events(score: FloatArray, step_s: float) -> FloatArray:
    """Return a score where it is as high as all since the last event or that is half a day old, else 0."""
    rest = max(_REST_S / step_s, 12.0)
    events = np.zeros(len(score))
    peak, last = 0.0, -math.inf
    for at, value in enumerate(score):
        if value > 0.0 and (value >= peak or at - last >= rest):
            events[at] = peak = value
            last = at
    return events


def outside_everything_seen(values: FloatArray) -> FloatArray:
    """Return 1 where a value lies outside the range of all before it: one line, and hard to beat on NAB."""
    high, low = np.maximum.accumulate(values), np.minimum.accumulate(values)
    return np.concatenate(([0.0], ((values[1:] > high[:-1]) | (values[1:] < low[:-1])).astype(np.float64)))


def centred_mean(score: FloatArray, rows: int) -> FloatArray:
    """Return the mean over rows on both sides (a look ahead: offline only)."""
    return np.convolve(score, np.ones(rows) / rows, mode="same")


def nab_part(
    series: Sequence[LabelledSeries], seed: int, *, members: bool
) -> tuple[list[Check], dict[str, pd.DataFrame], list[str]]:
    """Score the default detector and its rivals on NAB files; nothing is fitted to them but thresholds.

    Args:
        series: The files.
        seed: Of halves, random scores and members.
        members: Whether to run the library members too (minutes).
    """
    windows = [acf_window(one.values) for one in series]
    rows = []
    started = process_time()
    readings = [read_series(AnomalyDetector(one.step_s), one.values) for one in series]
    microseconds = 1e6 * (process_time() - started) / sum(len(one.values) for one in series)
    scores = [np.asarray(one.score) for one in readings]
    events, extents = _outputs(readings)
    detector = _row("streams, mean of tails", series, events, extents, windows, seed)
    rows.append(detector)
    votes = [read_series(AnomalyDetector(one.step_s, combine="vote"), one.values) for one in series]
    rows.append(_row("streams, votes", series, *_outputs(votes), windows, seed))
    joined = [one_column(one) for one in readings]
    rows.append(_row("streams, events and extent in one column", series, joined, joined, windows, seed))
    rows.append(_row("streams without events and extent", series, scores, scores, windows, seed))
    if members:
        found = _member_scores(series, seed)
        for name, member in found.items():
            alone = [only_events(score, one.step_s) for score, one in zip(member, series, strict=True)]
            rows.append(_row(name, series, alone, _smoothed(member, series), windows, seed))
    ranges = [outside_everything_seen(one.values) for one in series]
    rows.append(_row("value outside everything seen", series, ranges, ranges, windows, seed))
    rng = np.random.default_rng([seed, 0x5A])
    chance = [rng.random(len(one.values)) for one in series]
    rows.append(_row("random scores", series, chance, chance, windows, seed))
    never = [np.zeros(len(one.values)) for one in series]
    rows.append(_row("never alarming", series, never, never, windows, seed))
    offline = mean_vus(series, [centred_mean(score, _CENTRED) for score in scores], windows)
    table = pd.DataFrame(rows)
    checks = [
        Check("NAB standard, threshold from the other half", detector["held out, standard"], 60.0, math.inf, "1", _NAB),
        Check("VUS-PR, causal", detector["VUS-PR"], 0.38, 1.0, "1", "best offline of TSB-AD 0.350"),
        Check("microseconds per point", microseconds, 0.0, 20.0, "us", "budget of a point"),
        Check("NAB of never detecting", _score_of(series, never), 0.0, 0.0, "1", "public formula"),
        Check("NAB of a perfect detector", _perfect(series), 100.0, 100.0, "1", "public formula"),
    ]
    shown = sorted({(one.group, window) for one, window in zip(series, windows, strict=True) if one.is_anomaly.any()})
    notes = [
        f"NAB: {len(series)} development files; thresholds from one stratified half, scores on the other, "
        f"{SPLITS} x 2 halves, mean and standard deviation. Corpus: best threshold of the same files.",
        "VUS-PR windows (highest autocorrelation peak): " + ", ".join(f"{group} {window}" for group, window in shown),
        f"VUS-PR of a centred mean of {_CENTRED} rows of the score, which looks ahead: {offline:.3f}.",
        "Published NAB scores (HTM 70.1, CAD OSE 69.9, RCF 51.7, random 16.8) and Sub-PCA's VUS-PR of 0.350 are over "
        "all 58 files; a part is kept back here, so they are orientation, not a comparison.",
    ]
    return checks, {"NAB": table}, notes


def _row(
    name: str, series: Sequence[LabelledSeries], events: Scores, extents: Scores, windows: Sequence[int], seed: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"detector": name}
    for profile, weights in PROFILES.items():
        row[f"corpus, {profile}"] = corpus_score(series, events, weights)
    held = held_out_scores(series, events, PROFILES["standard"], seed)
    row["held out, standard"] = float(held.mean())
    row["held out, sd"] = float(held.std())
    row["VUS-PR"] = mean_vus(series, extents, windows)
    return row


def _outputs(readings: Sequence[Reading]) -> tuple[Scores, Scores]:
    return [np.asarray(one.event) for one in readings], [np.asarray(one.extent) for one in readings]


def _score_of(series: Sequence[LabelledSeries], scores: Scores) -> float:
    profile = PROFILES["standard"]
    sweeps = [sweep(score, one.windows, profile) for score, one in zip(scores, series, strict=True)]
    return nab_score(sweeps, math.inf, profile)


def _perfect(series: Sequence[LabelledSeries]) -> float:
    profile = PROFILES["standard"]
    sweeps = []
    for one in series:
        score = np.zeros(len(one.values))
        score[one.windows[:, 0]] = 1.0
        sweeps.append(sweep(score, one.windows, profile))
    return nab_score(sweeps, 1.0, profile)


def _member_scores(series: Sequence[LabelledSeries], seed: int) -> Mapping[str, Scores]:
    found: dict[str, Scores] = {}
    for maker in _MEMBERS:
        found[maker.__name__.removesuffix("Detector")] = [
            maker(refit=_MEMBER_REFIT, seed=seed).score_series(one.values) for one in series
        ]
    found["the three, mean"] = [np.mean(parts, axis=0) for parts in zip(*found.values(), strict=True)]
    return found


def _smoothed(scores: Scores, series: Sequence[LabelledSeries]) -> Scores:
    """Return each score as an exponential mean of 12 hours, as the detector's extent is."""
    return [
        pd.Series(score).ewm(alpha=1.0 / max(_REST_S / one.step_s, 12.0), adjust=False).mean().to_numpy()
        for score, one in zip(scores, series, strict=True)
    ]
