import numpy as np
import pytest

from forecasting.metrics.nab import PROFILES
from forecasting.suites.anomaly import machines_part
from forecasting.suites.anomaly_nab import halves, held_out_scores, nab_part, only_events, outside_everything_seen
from telemetry.labelled import LabelledSeries, LabelledTable


def series(seed: int, group: str) -> LabelledSeries:
    rng = np.random.default_rng(seed)
    values = 50.0 + 10.0 * np.sin(np.arange(1500) / 12.0) + rng.normal(size=1500)
    left = int(rng.integers(500, 1300))
    flags = np.zeros(1500, dtype=bool)
    flags[left : left + 100] = True
    values[left + 10 : left + 60] += 40.0
    return LabelledSeries(f"{group}/{seed}", group, values, flags, np.array([[left, left + 99]]), 300.0)


FILES = [series(seed, "ab"[seed % 2]) for seed in range(6)]


@pytest.mark.slow
def test_the_detector_beats_chance_on_planted_windows_and_the_null_scores_nothing() -> None:
    checks, tables, notes = nab_part(FILES, 0, members=False)
    table = tables["NAB"].set_index("detector")
    ours, chance, never = (table.loc[name] for name in ("streams, mean of tails", "random scores", "never alarming"))
    assert ours["held out, standard"] > 60.0 > chance["held out, standard"]
    assert ours["VUS-PR"] > 2.0 * chance["VUS-PR"]
    assert never["corpus, standard"] == never["held out, standard"] == 0.0
    found = {check.name: check for check in checks}
    assert found["NAB of never detecting"].holds
    assert found["NAB of a perfect detector"].measured == pytest.approx(100.0)
    assert any("VUS-PR windows" in note for note in notes)


def test_halves_are_disjoint_cover_all_and_cut_every_folder() -> None:
    masks = halves(FILES, 0)
    assert len(masks) == 40
    for one, other in zip(masks[::2], masks[1::2], strict=True):
        assert (one ^ other).all()
        assert {FILES[at].group for at in np.flatnonzero(one)} == {"a", "b"}


def test_a_threshold_comes_from_the_other_half() -> None:
    """Scores that are perfect but scaled by file cannot be held out well; on one scale they can."""
    perfect = [np.zeros(1500) for _ in FILES]
    for score, one in zip(perfect, FILES, strict=True):
        score[one.windows[0, 0]] = 1.0
    scaled = [score * 10.0**at for at, score in enumerate(perfect)]

    assert held_out_scores(FILES, perfect, PROFILES["standard"], 0).min() == pytest.approx(100.0)
    assert held_out_scores(FILES, scaled, PROFILES["standard"], 0).min() < 70.0


def test_events_are_the_highest_of_their_half_day() -> None:
    score = np.array([0.5, 0.4, 0.6, 0.0, 0.3] + [0.2] * 150)
    happened = np.flatnonzero(only_events(score, 300.0))
    np.testing.assert_array_equal(happened, [0, 2, 146, *range(147, 155)])


def test_values_outside_everything_seen() -> None:
    found = outside_everything_seen(np.array([3.0, 3.0, 4.0, 2.0, 3.5, 4.5]))
    np.testing.assert_array_equal(found, [0, 0, 1, 1, 0, 1])


@pytest.mark.slow
def test_machines_are_scored_beside_random_scores() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3000, 4))
    flags = np.zeros(1500, dtype=bool)
    flags[700:760] = True
    values[2200:2260, :2] += 8.0
    machine = LabelledTable("m", values[:1500], values[1500:], flags, 300.0)
    checks, tables, _ = machines_part({"SMD": [machine]}, 0)
    row = tables["Machines with many metrics"].iloc[0]
    assert row["VUS-PR of the score"] > 3.0 * row["VUS-PR, random"]
    assert row["recall"] == 1.0
    assert checks[0].holds
