"""A start by imitation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import agents.imitation
from agents.experiment import DEMONSTRATIONS, IMITATION_FILE, TrainSettings, run_training
from agents.imitation import Demonstration, ImitationSettings, demonstrate, gather, imitate, make_teacher
from agents.planner import Planner, PlannerSettings
from agents.ppo import PPOSettings, make_model, training_codec
from agents.rollout import play, random_windows
from agents.rules import RuleBook
from agents.trained import TorchPolicy
from envs.action import MAX_SCALE
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank


class Teacher:
    """Decides by the last hour's load and by the time of day, in every part."""

    def act(self, readings: np.ndarray) -> np.ndarray:
        busy = readings["demand_mean_rps"][:, 2] > readings["mean_demand_rps"]
        night = readings["minute_of_week"] % 1440 < 480
        return np.column_stack(
            [
                np.where(busy, MAX_SCALE + 3, MAX_SCALE),
                np.where(night, 2, 1),
                np.where(busy, 4, 10),
                np.where(night, 8, 9),
            ]
        ).astype(np.int64)


@pytest.fixture(scope="module")
def lessons(settings: EnvSettings, bank: Bank) -> list[Demonstration]:
    windows = random_windows(bank, 30, 1, seed=1)
    return [demonstrate(Teacher(), bank, settings.task, windows)]


def agreement(model: object, settings: EnvSettings, ppo: PPOSettings, bank: Bank, rule: object) -> float:
    """Share of decisions, on other days that the teacher plays, on which all parts are the teacher's."""
    block = demonstrate(Teacher(), bank, settings.task, random_windows(bank, 4, 1, seed=77))
    policy = TorchPolicy(model, training_codec(settings.task, ppo, rule))  # type: ignore[arg-type]
    ours = np.stack([policy.act(readings) for readings in block.readings])
    return float((ours == block.actions).all(axis=2).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "advised"),
    [({}, False), ({}, True), ({"masks": True}, True), ({"continuous": True}, True), ({"stack": 2}, True)],
    ids=str,
)
def test_a_known_policy_is_cloned(
    settings: EnvSettings,
    book: RuleBook,
    bank: Bank,
    tiny_ppo: PPOSettings,
    lessons: list[Demonstration],
    change: dict[str, int],
    advised: bool,
) -> None:
    ppo = tiny_ppo.model_copy(update={"hidden": 64, **change})
    rule = book.policy("spot-hedge", settings.task) if advised else None
    model = make_model(settings, ppo, bank=bank, advisor=rule, seed=0)
    value = {name: item.clone() for name, item in model.policy.value_net.state_dict().items()}
    before = agreement(model, settings, ppo, bank, rule) if "masks" not in change else 0.0
    done = imitate(
        model,
        training_codec(settings.task, ppo, rule),
        lessons,
        ImitationSettings(epochs=20, batch_size=128, learning_rate=3e-3),
        seed=0,
    )
    assert before < 0.5
    assert done.agreement_before < 0.5
    least = 0.85 if "continuous" in change else 0.9 if advised else 0.95
    assert done.agreement_after > least
    assert done.loss_after < done.loss_before
    assert min(done.agreement_by_part) >= done.agreement_after
    if "masks" not in change:  # masked clones say the same in other choices
        assert agreement(model, settings, ppo, bank, rule) > least
    for name, item in model.policy.value_net.state_dict().items():
        assert torch.equal(item, value[name])


def test_nothing_is_learned_from_the_fleets_that_are_held_out(
    settings: EnvSettings, bank: Bank, tiny_ppo: PPOSettings, lessons: list[Demonstration]
) -> None:
    """Other actions in every tenth fleet change what is measured, not what is learned."""
    spoilt = Demonstration(lessons[0].readings, lessons[0].actions.copy())
    spoilt.actions[:, ::10] = [0, 0, 0, 0]
    learned, measured = [], []
    for blocks in (lessons, [spoilt]):
        model = make_model(settings, tiny_ppo, bank=bank, advisor=None, seed=0)
        done = imitate(
            model, training_codec(settings.task, tiny_ppo, None), blocks, ImitationSettings(epochs=1), seed=0
        )
        learned.append(model.policy.state_dict())
        measured.append(done.loss_after)
    for name, value in learned[0].items():
        assert torch.equal(value, learned[1][name])
    assert measured[0] != measured[1]


def test_the_clone_plays_like_its_teacher(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, lessons: list[Demonstration]
) -> None:
    rule = book.policy("spot-hedge", settings.task)
    model = make_model(settings, tiny_ppo, bank=bank, advisor=rule, seed=0)
    codec = training_codec(settings.task, tiny_ppo, rule)
    windows = random_windows(bank, 4, 1, seed=9)
    theirs = play(Teacher(), bank, settings.task, windows).total_usd.sum()
    first = play(TorchPolicy(model, codec), bank, settings.task, windows).total_usd.sum()
    imitate(model, codec, lessons, ImitationSettings(epochs=30, batch_size=128, learning_rate=3e-3), seed=0)
    ours = play(TorchPolicy(model, codec), bank, settings.task, windows).total_usd.sum()
    assert abs(ours - theirs) < 0.5 * abs(first - theirs)


def test_a_teachers_days_are_played_once(
    settings: EnvSettings, book: RuleBook, bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def teacher(name: str, book: RuleBook, task: TaskSettings) -> object:
        asked.append(name)
        return make_teacher(name, book, task)

    monkeypatch.setattr(agents.imitation, "make_teacher", teacher)
    wanted = ImitationSettings(policy="forecast", decisions=16 * 288 + 1)
    shown: list[tuple[int, int]] = []
    blocks = gather(wanted, settings, book, bank, tmp_path, show=lambda done, total: shown.append((done, total)))
    assert [block.actions.shape for block in blocks] == [(288, 16, 4)] * 2
    assert shown == [(4608, 9216), (9216, 9216)]
    assert (blocks[0].readings["demand_rps"] != blocks[1].readings["demand_rps"]).any()
    assert len(asked) == 3, "once to see that there is such a teacher"
    files = sorted(tmp_path.rglob("*.npz"))
    assert [path.name for path in files] == ["block-000.npz", "block-001.npz"]
    again = gather(wanted, settings, book, bank, tmp_path)
    assert len(asked) == 4
    assert again[1].readings.tobytes() == blocks[1].readings.tobytes()
    np.testing.assert_array_equal(again[1].actions, blocks[1].actions)
    files[1].unlink()  # an interruption between the two
    third = gather(wanted, settings, book, bank, tmp_path)
    np.testing.assert_array_equal(third[1].actions, blocks[1].actions)
    assert len(asked) == 6
    gather(wanted.model_copy(update={"policy": "static"}), settings, book, bank, tmp_path)
    other = settings.model_copy(update={"task": settings.task.model_copy(update={"rank_hysteresis": 0.2})})
    gather(wanted, other, book, bank, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3, "other teachers and other tasks have days of their own"


def test_an_unknown_teacher_is_named(settings: EnvSettings, book: RuleBook, bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="unknown rule 'nobody'"):
        gather(ImitationSettings(policy="nobody"), settings, book, bank, tmp_path)


@pytest.mark.slow
def test_a_run_starts_where_imitation_left_it(
    train_settings: TrainSettings, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    shared = ImitationSettings(
        policy="static", decisions=100, epochs=30, learning_rate=0.03, folder=tmp_path / "shared"
    )
    ppo = tiny_ppo.model_copy(update={"imitate": shared, "learning_rate": 1e-9, "final_learning_rate": 0.0})
    settings = train_settings.model_copy(update={"ppo": ppo, "advisor": "manual"})
    run_training(settings, tmp_path / "run", seed=1)
    done = json.loads((tmp_path / "run" / IMITATION_FILE).read_text())
    assert done["loss_after"] < done["loss_before"]
    assert len(list((tmp_path / "shared").rglob("*.npz"))) == 1
    validation = json.loads((tmp_path / "run" / "validation.json").read_text())
    start = validation["history"][0]["total_over_reference"]
    assert start == pytest.approx(validation["rules"]["static"], rel=0.02)
    assert start != pytest.approx(validation["rules"]["manual"], rel=1e-3)
    assert not (tmp_path / "run" / DEMONSTRATIONS).exists()
    before = (tmp_path / "run" / IMITATION_FILE).stat().st_mtime_ns
    run_training(settings, tmp_path / "run", seed=1, resume=True)
    assert (tmp_path / "run" / IMITATION_FILE).stat().st_mtime_ns == before, "a resumed run does not begin again"


@pytest.mark.slow
def test_the_planner_is_cloned(settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings) -> None:
    quick = PlannerSettings(futures=4, tail_futures=2, choice_futures=2, choice_every=24, chunk=10)
    block = demonstrate(Planner(settings.task, book, quick), bank, settings.task, random_windows(bank, 10, 1, seed=1))
    rule = book.policy("spot-hedge", settings.task)
    model = make_model(settings, tiny_ppo, bank=bank, advisor=rule, seed=0)
    codec = training_codec(settings.task, tiny_ppo, rule)
    done = imitate(model, codec, [block], ImitationSettings(epochs=20, batch_size=128, learning_rate=3e-3), seed=0)
    assert done.loss_after < 0.7 * done.loss_before
    assert done.agreement_after > done.agreement_before
