import io
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from agents.advice import make_codec
from agents.evaluation.bound import bound_usd
from agents.experiment import VALIDATION_FILE, TrainSettings
from agents.monitoring import (
    CURVE_METRICS,
    VALIDATION_METRICS,
    CheckpointCallback,
    HyperParametersCallback,
    ValidationCallback,
)
from agents.monitoring.actions import ACTION_PARTS, action_shares, advice_shares
from agents.monitoring.day import DayRecorder, telling_day
from agents.monitoring.hyperparameters import flat_values
from agents.ppo import PPOSettings, TrainingRun
from agents.rollout import Played, Windows, play, random_windows
from agents.rules import RuleBook
from envs.action import MAX_SCALE, action_space, encode_action
from envs.picture import FleetPicture
from envs.reward import TERMS
from envs.settings import EnvSettings, TaskSettings, WorldSource, menu_names
from envs.worlds import draw_scenarios, tape_sources
from simulators.bank import Bank
from simulators.fleets import infra_usd
from simulators.records import OUTCOME

ROLLOUTS = [128, 256, 384, 512]
VALIDATIONS = [0, 256, 512]
PER_ROLLOUT = (
    "rollout/return",
    *(f"reward/{name}" for name in TERMS),
    *(f"cost/{name}_{unit}" for name in ("infra", "penalty", "total") for unit in ("over_reference", "usd_per_day")),
    "slo/bad_minutes_percent",
    *(f"entropy/{name}" for name in ACTION_PARTS),
    "action/scale_zero_percent",
    "action/specification_keep_percent",
    "action/specification_changed_percent",
    "action/spot_percent",
    *("train/" + name for name in ("approx_kl", "clip_fraction", "ent_coef", "explained_variance", "learning_rate")),
    *("train/" + name for name in ("entropy_loss", "policy_gradient_loss", "value_loss")),
    "time/rollout_seconds",
    "time/update_seconds",
    "time/decisions_per_second",
)
PER_VALIDATION = (
    *VALIDATION_METRICS,
    "validation/windows_won_percent",
    "validation/infra_usd_per_day",
    "validation/penalty_usd_per_day",
    "validation/launches_per_day",
    "validation/type_changes_per_day",
    "validation/decisions_since_best",
    "time/validation_seconds",
)


def read_events(run: Path) -> EventAccumulator:
    everything = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}
    return EventAccumulator(str(run / "tensorboard"), size_guidance=everything).Reload()


def steps(events: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in events.Scalars(tag)]


def values(events: EventAccumulator, tag: str) -> NDArray[np.float64]:
    return np.array([event.value for event in events.Scalars(tag)])


@pytest.fixture(scope="module")
def events(run_folder: Path) -> EventAccumulator:
    return read_events(run_folder)


@pytest.mark.parametrize("tag", PER_ROLLOUT)
def test_a_curve_of_the_rollouts_has_one_point_a_rollout(events: EventAccumulator, tag: str) -> None:
    assert steps(events, tag) == ROLLOUTS
    assert np.isfinite(values(events, tag)).all()


@pytest.mark.parametrize("tag", PER_VALIDATION)
def test_a_curve_of_validation_has_a_point_at_the_start_every_other_rollout_and_the_end(
    events: EventAccumulator, tag: str
) -> None:
    assert steps(events, tag) == VALIDATIONS
    assert np.isfinite(values(events, tag)).all()


def test_no_curve_says_two_things_of_one_step(events: EventAccumulator) -> None:
    for tag in events.Tags()["scalars"]:
        repeated = [step for step, count in Counter(steps(events, tag)).items() if count > 1]
        assert not repeated, tag


def test_histograms_hold_every_decision_of_a_rollout(events: EventAccumulator, task: TaskSettings) -> None:
    sizes = action_space(task).nvec
    for part, name in enumerate(ACTION_PARTS):
        found = events.Histograms(f"action/{name}")
        assert [event.step for event in found] == ROLLOUTS
        assert {event.histogram_value.num for event in found} == {128.0}
        lowest = -MAX_SCALE if part == 0 else 0
        for event in found:
            assert lowest <= event.histogram_value.min <= event.histogram_value.max < sizes[part] + lowest


def test_policy_shares_add_up_to_the_whole(events: EventAccumulator, task: TaskSettings) -> None:
    shares = [values(events, f"policy_share/{name}") for name in menu_names(task.menu)]
    assert np.sum(shares, axis=0) == pytest.approx(100.0, abs=1e-4)


def test_validation_curves_are_those_of_the_validation_file(events: EventAccumulator, run_folder: Path) -> None:
    content = json.loads((run_folder / VALIDATION_FILE).read_text())
    ratios = np.array([item["total_over_reference"] for item in content["history"]])
    rule = content["rules"][content["best_rule"]]
    assert values(events, "validation/total_over_reference") == pytest.approx(ratios, rel=1e-6)
    assert values(events, "validation/gap_to_best_rule") == pytest.approx(1 - ratios / rule, abs=1e-6)
    assert values(events, "validation/best_total_over_reference") == pytest.approx(
        np.minimum.accumulate(ratios), rel=1e-6
    )
    since = [step - VALIDATIONS[int(ratios[: at + 1].argmin())] for at, step in enumerate(VALIDATIONS)]
    assert values(events, "validation/decisions_since_best").tolist() == since


def test_validation_by_source_averages_to_the_whole(events: EventAccumulator, train_settings: TrainSettings) -> None:
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("validation/by_source/")]
    assert tags
    assert {tag.rpartition("/")[2] for tag in tags} <= set(tape_sources(train_settings.env.source))
    low, high = (pick([values(events, tag) for tag in tags], axis=0) for pick in (np.min, np.max))
    total = values(events, "validation/total_over_reference")
    assert (low <= total + 1e-6).all()
    assert (total <= high + 1e-6).all()
    assert {tag.replace("gap_by", "by") for tag in events.Tags()["scalars"] if "gap_by_source" in tag} == set(tags)


def hparams_of(events: EventAccumulator) -> tuple[dict[str, Any], list[str]]:
    """Hyper-parameters and metric tags that the HParams tab reads from a run."""
    contents = events.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    experiment = metadata.parse_experiment_plugin_data(contents[metadata.EXPERIMENT_TAG])
    given = {key: getattr(item, item.WhichOneof("kind")) for key, item in start.hparams.items()}
    assert sorted(info.name for info in experiment.hparam_infos) == sorted(given)
    return given, [info.name.tag for info in experiment.metric_infos]


def test_the_hparams_tab_has_hyper_parameters_and_metrics_that_are_curves(
    events: EventAccumulator, tiny_ppo: PPOSettings
) -> None:
    given, metrics = hparams_of(events)
    plain = {key: value for key, value in tiny_ppo.model_dump().items() if isinstance(value, int | float)}
    nested = {f"exploration.{key}": value for key, value in tiny_ppo.exploration.model_dump().items()}
    assert given == {**plain, **nested, "seed": 3}
    assert metrics == [*VALIDATION_METRICS, *CURVE_METRICS]
    assert set(metrics) <= set(events.Tags()["scalars"])


def test_hyper_parameters_are_flat() -> None:
    found = flat_values({"ppo": {"gamma": 0.9, "target_kl": None}, "models": ["a", "b"], "advised": True})
    assert found == {"ppo.gamma": 0.9, "ppo.target_kl": None, "models": "a, b", "advised": True}
    with pytest.raises(ValueError, match=r"'ppo\.gamma' is .*, a complex; expected a number"):
        flat_values({"ppo": {"gamma": 1j}})


class Watching(BaseCallback):
    """Notes every decision in its own way: outcomes one by one, changes of specification by looking at them."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[float] = []
        self.outcomes: list[NDArray[np.void]] = []
        self.changes = 0
        self.actions: list[NDArray[np.int64]] = []
        self.began = self.ended = 0.0

    def _on_training_start(self) -> None:
        self.began = time.perf_counter()
        self.fleets = self.training_env.get_attr("episodes")[0].fleets

    def _on_rollout_start(self) -> None:
        self.specs = self.fleets.readings["spec"].copy()

    def _on_step(self) -> bool:
        self.changes += int((self.fleets.decisions["spec"] != self.specs).sum())
        self.specs = self.fleets.readings["spec"].copy()
        self.rewards += self.locals["rewards"].tolist()
        self.outcomes.append(self.fleets.outcomes.copy())
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        self.actions.append(buffer.actions.reshape(-1, 4).astype(np.int64).copy())

    def _on_training_end(self) -> None:
        self.ended = time.perf_counter()


@pytest.fixture(scope="module")
def watched(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Watching, EventAccumulator]:
    """One rollout over the end of an episode, watched independently; the policy sees what a rule would do."""
    folder = tmp_path_factory.mktemp("watched")
    long = tiny_ppo.model_copy(update={"n_timesteps": 8 * 200, "n_steps": 200})
    watching = Watching()
    TrainingRun(folder, settings, long, bank, 0, book.policy("forecast", settings.task)).train(extra=watching)
    return watching, read_events(folder)


def entropies_of(model: PPO) -> NDArray[np.float64]:
    """Mean entropy of each part over a rollout, from the parameters of a policy without advice."""
    state = {name: value.double().numpy() for name, value in model.policy.state_dict().items()}
    observations = model.rollout_buffer.observations
    hidden = observations.reshape(-1, observations.shape[-1])
    for layer in (0, 2):
        name = f"mlp_extractor.policy_net.{layer}"
        hidden = np.tanh(hidden @ state[f"{name}.weight"].T + state[f"{name}.bias"])
    logits = hidden @ state["action_net.weight"].T + state["action_net.bias"]
    nats = []
    for part in np.split(logits, np.cumsum(model.action_space.nvec)[:-1], axis=1):
        weights = np.exp(part - part.max(axis=1, keepdims=True))
        chances = weights / weights.sum(axis=1, keepdims=True)
        nats.append(-(chances * np.log(chances)).sum(axis=1).mean())
    return np.array(nats)


def test_entropies_are_those_of_the_policy_that_played(
    settings: EnvSettings, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    expected: list[NDArray[np.float64]] = []

    class Computing(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            expected.append(entropies_of(self.model))

    fast = tiny_ppo.model_copy(update={"learning_rate": 0.02})
    TrainingRun(tmp_path, settings, fast, bank, 0, None).train(extra=Computing())
    events = read_events(tmp_path)
    assert np.ptp(np.array(expected), axis=0).min() > 0.01, "the policy changed"
    for part, name in enumerate(ACTION_PARTS):
        assert values(events, f"entropy/{name}") == pytest.approx([item[part] for item in expected], rel=1e-4)
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith("advice/")]


def test_the_first_entropies_of_an_advised_policy_are_its_exploration(
    watched: tuple[Watching, EventAccumulator], task: TaskSettings, tiny_ppo: PPOSettings
) -> None:
    _, events = watched
    exploration = tiny_ppo.exploration

    def nats(*groups: tuple[float, int]) -> float:
        """Entropy of choices, each group of them sharing a probability evenly."""
        return -sum(share * np.log(share / count) for share, count in groups)

    other, keep, policy = exploration.specification_share, exploration.keep_share, exploration.policy_share
    specification = nats((1 - other - keep, 1), (keep, 1), (other, len(task.candidates) - 1))
    assert values(events, "entropy/specification")[0] == pytest.approx(specification, rel=1e-4)
    menu = nats((1 - policy, 1), (policy, len(task.menu) - 1))
    assert values(events, "entropy/policy")[0] == pytest.approx(menu, rel=1e-4)


def test_following_the_advice_is_counted_in_every_decision(
    watched: tuple[Watching, EventAccumulator], book: RuleBook, task: TaskSettings
) -> None:
    watching, events = watched
    advised = book.action("forecast", task)
    same = watching.actions[0] == advised
    assert 0.0 < same.all(axis=1).mean() < 1.0
    assert values(events, "advice/followed_percent")[0] == pytest.approx(100 * same.all(axis=1).mean(), rel=1e-5)
    for part, name in enumerate(ACTION_PARTS):
        assert values(events, f"advice/{name}_percent")[0] == pytest.approx(100 * same[:, part].mean(), rel=1e-5)


def test_earnings_are_those_of_every_decision(watched: tuple[Watching, EventAccumulator]) -> None:
    watching, events = watched
    outcomes = np.concatenate(watching.outcomes)
    days = 8 * 200 * 5 / 1440
    bill, penalty = float(infra_usd(outcomes).sum()), float(outcomes["slo_penalty_usd"].sum())
    reference = float(outcomes["reference_usd"].sum())
    expected = {
        "rollout/return": np.mean(watching.rewards) * 288,
        "reward/cost_savings": -np.mean(infra_usd(outcomes) / outcomes["reference_usd"]),
        "reward/sla_compliance": -np.mean(outcomes["slo_penalty_usd"] / outcomes["reference_usd"]),
        "cost/infra_usd_per_day": bill / days,
        "cost/penalty_usd_per_day": penalty / days,
        "cost/total_usd_per_day": (bill + penalty) / days,
        "cost/infra_over_reference": bill / reference,
        "cost/penalty_over_reference": penalty / reference,
        "cost/total_over_reference": (bill + penalty) / reference,
        "slo/bad_minutes_percent": 100 * outcomes["bad_minutes"].sum() / (8 * 200 * 5),
        "action/specification_changed_percent": 100 * watching.changes / (8 * 200),
    }
    assert penalty > 0
    assert watching.changes > 0
    for tag, value in expected.items():
        assert values(events, tag)[0] == pytest.approx(value, rel=1e-5), tag


def test_action_shares_are_those_of_every_decision(
    watched: tuple[Watching, EventAccumulator], task: TaskSettings
) -> None:
    watching, events = watched
    rows = watching.actions[0].tolist()
    chosen = Counter(menu_names(task.menu)[row[3]] for row in rows)
    for name in menu_names(task.menu):
        assert values(events, f"policy_share/{name}")[0] == pytest.approx(100 * chosen[name] / len(rows), rel=1e-5)
    expected = {
        "action/scale_zero_percent": 100 * sum(row[0] == 19 for row in rows) / len(rows),
        "action/specification_keep_percent": 100 * sum(row[1] == 0 for row in rows) / len(rows),
        "action/spot_percent": sum(row[2] * 10 for row in rows) / len(rows),
    }
    for tag, value in expected.items():
        assert values(events, tag)[0] == pytest.approx(value, rel=1e-5), tag


def test_the_shares_of_a_constant_action(task: TaskSettings) -> None:
    action = encode_action(task, scale=0, candidate=0, spot_percent=70, policy=2)
    shares = action_shares(np.tile(action, (9, 1)), task)
    assert shares["action/scale_zero_percent"] == shares["action/specification_keep_percent"] == 100.0
    assert shares["action/spot_percent"] == pytest.approx(70.0)
    assert [name for name, share in shares.items() if share == 100.0 and "policy" in name] == [
        f"policy_share/{menu_names(task.menu)[2]}"
    ]


def test_following_advice_is_counted_by_part_and_as_a_whole() -> None:
    advised = np.array([[19, 1, 5, 3]] * 4)
    actions = np.array([[19, 1, 5, 3], [20, 1, 5, 3], [19, 1, 5, 2], [19, 1, 5, 3]])
    shares = advice_shares(actions, advised)
    assert shares == {
        "advice/followed_percent": 50.0,
        "advice/scale_percent": 75.0,
        "advice/specification_percent": 100.0,
        "advice/spot_percent": 100.0,
        "advice/policy_percent": 75.0,
    }


def rule_in(windows: Windows, bank: Bank, book: RuleBook, task: TaskSettings) -> Played:
    return play(book.policy("forecast", task), bank, task, windows)


@pytest.fixture(scope="module")
def windows(bank: Bank) -> Windows:
    return random_windows(bank, 4, 1, seed=5)


@pytest.fixture(scope="module")
def validating(bank: Bank, task: TaskSettings, book: RuleBook, windows: Windows) -> dict[str, Any]:
    return {
        "bank": bank,
        "task": task,
        "windows": windows,
        "codec": make_codec(task, book.policy("forecast", task)),
        "rule": rule_in(windows, bank, book, task),
        "bound_usd": bound_usd(bank, windows),
        "every_rollouts": 1,
        "save_best": lambda _: None,
    }


def test_pictures_of_validation_show_one_day_and_decode(events: EventAccumulator) -> None:
    pictures = events.Images("validation/day")
    assert [event.step for event in pictures] == VALIDATIONS
    for event in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        assert pixels.shape == (560, 960, 3)
        assert pixels.std() > 10


def test_the_picture_differs_between_days_and_is_the_same_for_the_same(
    bank: Bank, task: TaskSettings, book: RuleBook
) -> None:
    windows = random_windows(bank, 2, 2, seed=1)
    policy = book.policy("forecast", task)
    places = [(0, 0), (0, 1), (1, 0), (0, 0)]
    drawn = []
    for place in places:
        recorder = DayRecorder(*place, task.decision_minutes)
        played = play(policy, bank, task, windows, watch=recorder.watch)
        usd = recorder.history["bill_usd"].sum() + recorder.history["penalty_usd"].sum()
        assert usd == pytest.approx(played.daily_usd[place])
        assert len(recorder.history) == 288
        drawn.append(FleetPicture(task, 1440).draw(recorder.history))
    assert np.array_equal(drawn[0], drawn[3])
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_the_day_shown_is_one_where_the_rule_could_be_better() -> None:
    totals = np.zeros(3, OUTCOME)
    totals["reference_usd"] = [10.0, 10.0, 20.0]
    totals["on_demand_usd"] = [5.0, 90.0, 12.0]
    daily = np.array([[2.0, 3.0], [45.0, 45.0], [9.0, 3.0]])
    reference = np.array([[5.0, 5.0], [5.0, 5.0], [16.0, 4.0]])
    rule = Played(totals, daily, daily, reference, np.zeros(3, np.int64))
    assert telling_day(rule, np.array([4.0, 89.9, 2.0])) == (2, 1), "9 of 16 is less than 3 of 4"
    assert telling_day(rule, np.array([0.0, 89.9, 11.0])) == (0, 1)
    unscored = replace(rule, daily_reference_usd=np.array([[5.0, 5.0], [5.0, 5.0], [20.0, 0.0]]))
    assert telling_day(unscored, np.array([4.0, 89.9, 2.0])) == (2, 0)


def train_with(
    validation: ValidationCallback, folder: Path, settings: EnvSettings, ppo: PPOSettings, book: RuleBook, bank: Bank
) -> Watching:
    watching = Watching()
    advisor = book.policy("forecast", settings.task)
    TrainingRun(folder, settings, ppo, bank, 0, advisor).train(validation=validation, extra=watching)
    return watching


def test_a_report_can_stop_training(
    validating: dict[str, Any],
    settings: EnvSettings,
    tiny_ppo: PPOSettings,
    book: RuleBook,
    bank: Bank,
    tmp_path: Path,
) -> None:
    reported: list[tuple[int, float]] = []

    def report(decisions: int, ratio: float) -> bool:
        reported.append((decisions, ratio))
        return decisions >= 256

    validation = ValidationCallback(**validating, picture=False, report=report)
    train_with(validation, tmp_path, settings, tiny_ppo, book, bank)
    assert [decisions for decisions, _ in reported] == [0, 128, 256]
    assert [(decisions, ratio) for decisions, ratio, _ in validation.history] == reported
    events = read_events(tmp_path)
    assert steps(events, "validation/total_over_reference") == [0, 128, 256]
    assert steps(events, "train/approx_kl") == [128, 256]
    assert "validation/day" not in events.Tags()["images"]


def test_rollouts_updates_and_validations_make_up_the_time_of_training(
    validating: dict[str, Any],
    settings: EnvSettings,
    tiny_ppo: PPOSettings,
    book: RuleBook,
    bank: Bank,
    tmp_path: Path,
) -> None:
    slow = {**validating, "save_best": lambda _: time.sleep(1.5)}
    validation = ValidationCallback(**slow)
    watching = train_with(validation, tmp_path, settings, tiny_ppo, book, bank)
    events = read_events(tmp_path)
    rollouts, updates = values(events, "time/rollout_seconds"), values(events, "time/update_seconds")
    assert validation.seconds >= 1.5
    elapsed = watching.ended - watching.began
    assert rollouts.sum() + updates.sum() + validation.seconds == pytest.approx(elapsed, abs=0.5)
    assert values(events, "time/decisions_per_second") * (rollouts + updates) == pytest.approx(128.0, rel=1e-4)


def test_a_resumed_run_goes_on_with_its_curves(
    settings: EnvSettings, tiny_ppo: PPOSettings, book: RuleBook, bank: Bank, tmp_path: Path
) -> None:
    advisor = book.policy("forecast", settings.task)
    half = tiny_ppo.model_copy(update={"n_timesteps": 256})
    TrainingRun(tmp_path, settings, half, bank, 0, advisor).train()
    TrainingRun(tmp_path, settings, tiny_ppo, bank, 0, advisor).train(resume=True)
    events = read_events(tmp_path)
    for tag in ("rollout/return", "train/approx_kl", "time/update_seconds"):
        assert steps(events, tag) == ROLLOUTS
    seconds = values(events, "time/rollout_seconds") + values(events, "time/update_seconds")
    assert values(events, "time/decisions_per_second") * seconds == pytest.approx(128.0, rel=1e-4)
    given, metrics = hparams_of(events)
    assert given["n_timesteps"] == 256, "the tab keeps those of the first start"
    assert metrics == list(CURVE_METRICS)


def test_sources_are_named_in_the_order_of_the_tapes(task: TaskSettings) -> None:
    source = WorldSource(
        patterns=("steady", "bursty"), models=("worldcup98_1min",), days=1, scenarios_per_source=2, markets=1
    )
    drawn = [scenario.name.partition("#")[0] for scenario in draw_scenarios(source, task)]
    assert [name.replace("model:", "model_") for name in drawn] == tape_sources(source)
    assert tape_sources(WorldSource(patterns=(), traces=("a/one.csv", "b/two.parquet"))) == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every_rollouts": 0}, "every_rollouts is 0; expected at least 1"),
        ({"bound_usd": np.zeros(3)}, "4 windows, but a rule in 4 and a bound of 3"),
        ({"bound_usd": np.full(4, 1e6)}, "the bound .* is not below the rule's"),
        ({"tape_sources": ("one",)}, "1 names of sources; expected one for each of the bank's 2 demand tapes"),
    ],
)
def test_validation_refuses_what_does_not_belong_together(
    validating: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ValidationCallback(**{**validating, **change}, picture=False)


def test_callbacks_without_anything_to_do_are_refused() -> None:
    with pytest.raises(ValueError, match="every is 0; expected at least 1 rollout"):
        CheckpointCallback(lambda _: None, every=0)
    with pytest.raises(ValueError, match="at least one hyper-parameter and one metric"):
        HyperParametersCallback({}, CURVE_METRICS)
    with pytest.raises(ValueError, match="at least one hyper-parameter and one metric"):
        HyperParametersCallback({"gamma": 0.9}, ())
