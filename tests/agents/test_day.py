"""A day of the fleet: recorded, drawn, as a GIF and as the viewer's data."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_example import contract_content, example_day, example_days, history_of

from agents.evaluation.day import (
    DAY_GIF,
    DAYS_FILE,
    DayPicture,
    day_content,
    day_gif,
    liveliest,
    plot_day,
    record_day,
    write_days,
)
from agents.evaluation.folder import write_pictures_and_page
from agents.rollout import Windows, play
from agents.rules import RuleBook
from envs.history import COLUMNS
from envs.picture import BLUE, ORANGE, RED
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import infra_usd


def test_a_recorded_day_adds_up_to_what_was_played(bank: Bank, task: TaskSettings, book: RuleBook) -> None:
    rule = "forecast-lean"
    policy = book.policy(rule, task)
    start = int(bank.tapes["first_tick"][bank.worlds["tape"][1]])
    day = record_day(policy, bank, task, 1, start)
    windows = Windows(np.array([1]), np.array([start]), np.array([start + 1440]), np.array([1], np.uint64))
    totals = play(policy, bank, task, windows).totals
    assert len(day) == 1440 // task.decision_minutes
    assert day["bill_usd"].sum() == pytest.approx(infra_usd(totals)[0])
    assert day["penalty_usd"].sum() == pytest.approx(totals["slo_penalty_usd"][0])
    assert day["reference_usd"].sum() == pytest.approx(totals["reference_usd"][0])
    assert day["bad_minutes"].sum() == totals["bad_minutes"][0]
    assert day["interruptions"].sum() == totals["interruptions"][0]
    assert day["demand_rps"].mean() * 86400 == pytest.approx(totals["requests"][0])
    assert {task.menu[int(index)].name for index in day["policy"]} == {rule}
    again = record_day(policy, bank, task, 1, start)
    for name in COLUMNS:
        np.testing.assert_array_equal(again[name], day[name])


def pixels(frame: np.ndarray, colour: str) -> int:
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return int((np.abs(frame[:, :, :3].astype(int) - wanted) <= 8).all(axis=2).sum())


def test_the_gif_shows_every_policy_growing_through_the_day(tmp_path: Path) -> None:
    days = {f"policy {number}": example_day(3, spot_share=share) for number, share in enumerate((0.2, 0.5, 0.5, 0.8))}
    path = tmp_path / "day.gif"
    day_gif(days, path, title="a day", minutes=5, every_minutes=60)
    assert path.stat().st_size < 2_000_000
    with Image.open(path) as gif:
        assert gif.n_frames == 25
        assert gif.info["loop"] == 0
        filled = []
        for number in (0, 8, 16, 24):
            gif.seek(number)
            frame = np.array(gif.convert("RGB"))
            assert (frame[0, 0] == 255).all()
            filled.append(pixels(frame, BLUE) + pixels(frame, ORANGE))
        assert gif.info["duration"] > 1000
    assert filled == sorted(filled)
    assert filled[-1] > 4 * filled[0]


@pytest.mark.slow
def test_a_full_day_every_quarter_of_an_hour_stays_small(tmp_path: Path) -> None:
    day_gif(example_days()["worldcup98_1min"], tmp_path / "day.gif", title="a day", minutes=5)
    with Image.open(tmp_path / "day.gif") as gif:
        assert gif.n_frames == 97
    assert (tmp_path / "day.gif").stat().st_size < 2_000_000


def test_a_gif_that_would_be_too_large_leaves_frames_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = {"policy": example_day(3)}
    for limit, frames in ((2_000_000, 13), (60_000, 7)):
        monkeypatch.setattr("agents.evaluation.day.GIF_BYTES", limit)
        day_gif(days, tmp_path / "day.gif", title="a day", minutes=5, every_minutes=120)
        assert (tmp_path / "day.gif").stat().st_size <= limit
        with Image.open(tmp_path / "day.gif") as gif:
            assert gif.n_frames == frames
            gif.seek(gif.n_frames - 1)
            last = np.array(gif.convert("RGB")).astype(int)
        assert np.abs(last - DayPicture(days, "a day", 5).draw(288)).mean() < 3


def test_the_liveliest_day_is_shown() -> None:
    calm, wild = history_of(demand_rps=[100.0, 110.0]), history_of(demand_rps=[1.0, 9.0])
    assert liveliest({"calm": {"a": calm}, "wild": {"a": wild}}) == "wild"
    assert liveliest({"wild": {"a": wild}, "none": {"a": history_of(demand_rps=[0.0, 0.0])}}) == "wild"


def test_penalty_and_bad_minutes_keep_their_colour_in_the_gif(tmp_path: Path) -> None:
    flat = {"on_demand": np.ones(288), "demand_rps": np.ones(288), "reference_usd": np.full(288, 0.01)}
    days = {"calm": history_of(**flat), "costly": history_of(penalty_usd=np.full(288, 0.02), **flat)}
    day_gif(days, tmp_path / "day.gif", title="a day", minutes=5, every_minutes=720)
    with Image.open(tmp_path / "day.gif") as gif:
        gif.seek(gif.n_frames - 1)
        frame = np.array(gif.convert("RGB"))
    blend = "#" + "".join(f"{round(255 - 0.8 * (255 - int(RED[at : at + 2], 16))):02X}" for at in (1, 3, 5))
    half = frame.shape[1] // 2
    wanted = np.array([int(blend[at : at + 2], 16) for at in (1, 3, 5)])
    near = (np.abs(frame.astype(int) - wanted) <= 20).all(axis=2)
    legend = int(0.85 * frame.shape[0])
    assert near[:legend, half:].sum() > 2000
    assert near[:legend, :half].sum() < 50


def test_a_day_without_a_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one policy"):
        DayPicture({}, "nothing", 5)


def test_the_picture_of_a_day_is_the_last_frame(tmp_path: Path) -> None:
    days = example_days()["worldcup98_1min"]
    plot_day(days, "a day", 5, tmp_path / "day.png")
    with Image.open(tmp_path / "day.png") as picture:
        np.testing.assert_array_equal(np.array(picture), DayPicture(days, "a day", 5).draw(288))


def test_the_viewers_data_is_the_history(task: TaskSettings, tmp_path: Path) -> None:
    days = example_days()
    write_days(days, task, tmp_path)
    content = json.loads((tmp_path / DAYS_FILE).read_text())
    assert content["minutes"] == task.decision_minutes
    assert content["specifications"] == [candidate.name for candidate in task.candidates]
    assert content["scaling"] == [policy.name for policy in task.menu]
    assert list(content["days"]) == list(days)
    for trace, histories in days.items():
        shown = content["days"][trace]
        assert shown == day_content(histories)
        for name, history in histories.items():
            np.testing.assert_array_equal(shown["policies"][name]["spot"], history["spot"])
            usd = (history["bill_usd"] + history["penalty_usd"]).sum()
            assert shown["policies"][name]["usd"][-1] == pytest.approx(usd, abs=1e-3)


def test_a_folder_without_days_gets_a_page_without_them(task: TaskSettings, tmp_path: Path) -> None:
    page = write_pictures_and_page(contract_content(), {}, task, tmp_path)
    assert 'id="viewer"' not in page.read_text()
    assert not (tmp_path / DAY_GIF).exists()
    assert not (tmp_path / DAYS_FILE).exists()
