"""Scores of the frozen suite, submissions, and the repository's table of them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from agents.bundle import load_bundle
from agents.evaluation.bound import bound_usd
from agents.evaluation.entrants import load_entrant
from agents.evaluation.leaderboard import LEADERBOARD, leaderboard, load_submissions
from agents.evaluation.submissions import (
    SUBMISSIONS,
    Details,
    Submission,
    SubmissionError,
    content_sha256,
    make_submission,
    read_submission,
    replay_problems,
    submission_problems,
    write_submission,
)
from agents.evaluation.suite_scores import FLEETS_PER_ENTRY, SuiteWorlds, score_on_suite, suite_worlds
from agents.policies import ConstantPolicy
from agents.rollout import play, whole_windows
from agents.rules import RULES_FILE, RuleBook
from envs.settings import Candidate, TaskSettings
from scripts.submit import submit
from simulators.scenario_files import world_bank
from simulators.suite import Suite, build, load_suite

ROOT = Path(__file__).resolve().parents[2]
DETAILS = Details(policy="forecast", kind="rule", authors=("A. Uthor",), link="https://example.org/x", note="By hand.")


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("fleetgym-suite-1")


@pytest.fixture(scope="module")
def small(suite: Suite) -> Suite:
    """Two demands, one of them in two markets, and one day that no trace is there for."""
    names = ("bursty-5-calm", "bursty-5-hot", "on_off-20-hot")
    return suite.model_copy(update={"generated": tuple(suite[name] for name in names), "replayed": suite.replayed[:1]})


@pytest.fixture(scope="module")
def worlds(small: Suite) -> SuiteWorlds:
    return suite_worlds(small)


@pytest.fixture(scope="module")
def submission(small: Suite, worlds: SuiteWorlds) -> Submission:
    return make_submission(load_entrant("rule:forecast"), DETAILS, small, worlds)


def test_a_score_is_what_the_world_played_alone_gives(
    small: Suite, submission: Submission, book: RuleBook, task: TaskSettings
) -> None:
    for entry in small.generated:
        bank = world_bank(build(small, entry), task.catalogue())
        windows = whole_windows(bank)
        fleets = [
            play(
                ConstantPolicy(book.action("forecast", task)),
                bank,
                task,
                replace(windows, seeds=np.array([luck], np.uint64)),
            )
            for luck in range(FLEETS_PER_ENTRY)
        ]
        score = submission.entries[entry.id]
        assert score.total_usd == pytest.approx(np.mean([item.total_usd[0] for item in fleets]), abs=1e-6)
        bad = np.mean([item.totals["bad_minutes"][0] for item in fleets]) / 1440
        assert score.bad_minutes_fraction == pytest.approx(bad, abs=1e-6)
        assert score.reference_usd == pytest.approx(fleets[0].totals["reference_usd"][0], abs=1e-6)
        assert score.bound_usd == pytest.approx(bound_usd(bank, windows)[0], abs=1e-6)
    assert submission.absent == (small.replayed[0].id,)


def test_the_total_is_a_mean_of_ratios_of_the_generated_entries(submission: Submission, small: Suite) -> None:
    ratios = [
        submission.entries[entry.id].total_usd / submission.entries[entry.id].reference_usd for entry in small.generated
    ]
    assert submission.total_over_reference == pytest.approx(sum(ratios) / 3, abs=1e-6)


def test_scoring_twice_gives_the_same_file(
    submission: Submission, small: Suite, worlds: SuiteWorlds, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        again = make_submission(load_entrant("rule:forecast"), DETAILS, small, suite_worlds(small))
        write_submission(again, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_submission(tmp_path / "a", small) == submission


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("region", "sa-east-1"),
        ("candidates", (Candidate(name="m8g.large", types=("m8g.large",)),)),
        ("world", "no launch takes time"),
    ],
)
def test_nobody_plays_the_suite_under_other_rules(
    worlds: SuiteWorlds, task: TaskSettings, book: RuleBook, key: str, value: object
) -> None:
    if key == "world":
        value = task.world.model_copy(
            update={"objective": task.world.objective.model_copy(update={"penalty_multiple": 1})}
        )
    other = task.model_copy(update={key: value})
    with pytest.raises(ValueError, match=f"key '{key}' differs from the default"):
        score_on_suite(ConstantPolicy(book.action("forecast", task)), other, worlds)


Content = dict[str, Any]


def entry_of(content: Content) -> dict[str, float]:
    return content["entries"]["bursty-5-hot"]  # type: ignore[no-any-return]


def cheaper_bill(content: Content) -> None:
    entry_of(content)["infra_usd"] *= 0.5


def refunds_taken_off(content: Content) -> None:
    entry_of(content)["total_usd"] -= entry_of(content)["refunds_usd"] + 0.01


def below_the_bound(content: Content) -> None:
    entry = entry_of(content)
    entry["infra_usd"] = 0.9 * entry["bound_usd"]
    entry["slo_penalty_usd"] = entry["bad_minutes_fraction"] = 0.0
    entry["total_usd"] = entry["infra_usd"]


def fewer_bad_minutes(content: Content) -> None:
    entry_of(content)["bad_minutes_fraction"] *= 0.5


def no_number(content: Content) -> None:
    entry_of(content)["total_usd"] = float("nan")


def entry_left_out(content: Content) -> None:
    del content["entries"]["bursty-5-hot"]


def entry_called_absent(content: Content) -> None:
    del content["entries"]["bursty-5-hot"]
    content["absent"] = ["bursty-5-hot", *content["absent"]]


def better_mean(content: Content) -> None:
    content["total_over_reference"] -= 0.01


def other_suite(content: Content) -> None:
    content["suite_sha256"] = "0" * 64


def other_environment(content: Content) -> None:
    content["environment"] = "AWSInfrastructure-v9"


def lucky_fleet(content: Content) -> None:
    content["fleets_per_entry"] = 1


def unknown_key(content: Content) -> None:
    content["carbon"] = 1


def a_table_in_the_name(content: Content) -> None:
    content["details"]["policy"] = "best | 1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cheaper_bill, r"entry 'bursty-5-hot': total_usd is .*, bill and penalty are"),
        (refunds_taken_off, r"entry 'bursty-5-hot': total_usd is .*, bill and penalty are"),
        (below_the_bound, r"entry 'bursty-5-hot': total_usd .* is below the bound"),
        (fewer_bad_minutes, r"entry 'bursty-5-hot': slo_penalty_usd is .*, its bad minutes cost"),
        (no_number, r"key 'entries.bursty-5-hot.total_usd': Input should be a finite number"),
        (entry_left_out, r"key 'entries' differs from the suite's: bursty-5-hot"),
        (entry_called_absent, r"key 'absent': 'bursty-5-hot' is no replayed entry"),
        (better_mean, r"key 'total_over_reference' is .*, its entries give"),
        (other_suite, r"key 'suite_sha256' is '0+', expected"),
        (other_environment, r"key 'environment' is 'AWSInfrastructure-v9', expected 'AWSInfrastructure-v0'"),
        (lucky_fleet, r"key 'fleets_per_entry' is 1, expected 5"),
        (unknown_key, r"key 'carbon': Extra inputs are not permitted \(got '1'\)"),
        (a_table_in_the_name, r"key 'details.policy': String should match pattern .* \(got 'best \| 1'\)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_figures_that_cannot_be_are_refused(
    submission: Submission, small: Suite, tmp_path: Path, change: Callable[[Content], None], message: str
) -> None:
    """Each change is made by someone who also mends the file's own hash."""
    content = submission.model_dump(mode="json", exclude={"sha256"})
    change(content)
    content["sha256"] = content_sha256(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    with pytest.raises(SubmissionError, match=f"{path}: {message}") as caught:
        read_submission(path, small)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "\ud800"])
def test_what_is_no_submission_is_refused_in_one_line(small: Suite, tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SubmissionError, match=str(path)) as caught:
        read_submission(path, small)
    assert "\n" not in str(caught.value)


def test_a_hand_in_the_file_breaks_its_hash(submission: Submission, small: Suite, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_submission(submission, path)
    path.write_text(path.read_text().replace("A. Uthor", "B. Uthor"))
    with pytest.raises(SubmissionError, match="key 'sha256' is"):
        read_submission(path, small)


def test_playing_again_finds_what_was_not_played(submission: Submission, small: Suite, worlds: SuiteWorlds) -> None:
    honest = load_entrant("rule:forecast")
    assert replay_problems(submission, honest, worlds) == []
    name = "on_off-20-hot"
    entry = submission.entries[name]
    invented = entry.model_copy(
        update={"infra_usd": entry.infra_usd * 0.99, "total_usd": entry.infra_usd * 0.99 + entry.slo_penalty_usd}
    )
    changed = submission.model_copy(update={"entries": {**submission.entries, name: invented}})
    (problem,) = replay_problems(changed, load_entrant("rule:forecast"), worlds)
    assert problem == f"entry '{name}': total_usd is {entry.total_usd}, submitted {invented.total_usd}"
    other = load_entrant("rule:static")
    assert len(replay_problems(submission, other, worlds)) == len(small.generated)
    (problem,) = replay_problems(submission, replace(honest, sha256="0" * 64), worlds)
    assert problem.startswith("source of rule:forecast is 000")


def test_a_bundle_can_be_submitted(bundle_folder: Path, small: Suite, worlds: SuiteWorlds) -> None:
    entrant = load_entrant(f"bundle:{bundle_folder}")
    details = Details(policy="tiny", kind="rl", authors=("A. Uthor",))
    found = make_submission(entrant, details, small, worlds)
    assert entrant.sha256 == hashlib.sha256(load_bundle(bundle_folder).policy_onnx).hexdigest()
    assert submission_problems(found, small) == []


def test_who_is_unknown_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rules.yaml: unknown rule 'best'; known: "):
        load_entrant("rule:best")
    with pytest.raises(ValueError, match="no such bundle"):
        load_entrant(f"bundle:{tmp_path / 'absent'}")


def shifted(submission: Submission, name: str, by: float) -> Submission:
    """Return a submission whose every total is higher by a share of the reference."""
    entries = {
        key: score.model_copy(update={"total_usd": score.total_usd + by * score.reference_usd})
        for key, score in submission.entries.items()
    }
    return submission.model_copy(
        update={
            "details": submission.details.model_copy(update={"policy": name, "link": ""}),
            "entries": entries,
            "total_over_reference": submission.total_over_reference + by,
        }
    )


def test_the_table_says_who_is_how_far_behind(submission: Submission, small: Suite) -> None:
    page = leaderboard([submission, shifted(submission, "second", 0.25)], small)
    total = submission.total_over_reference
    first, second = (line for line in page.splitlines() if line.startswith(("| 1 |", "| 2 |")))
    assert first.startswith(f"| 1 | [forecast](https://example.org/x) | rule | A. Uthor | {total:.4f} |  | ")
    assert f"| {total + 0.25:.4f} | 0.2500 (0.2500 to 0.2500) |" in second
    assert second.endswith("| 1 absent |")
    bounds = [score.bound_usd / score.reference_usd for score in submission.entries.values()]
    assert f"| clairvoyant bound | bound | | {np.mean(bounds):.4f} |" in page
    assert "| policy | bursty | on off | calm market | hot market |" in page
    assert "- **forecast** (`rule:forecast`, commit " in page


def test_the_interval_resamples_demands_and_not_entries(submission: Submission, small: Suite) -> None:
    """Only one of the two demands differs: the interval reaches from none of it to all of it."""
    behind = shifted(submission, "second", 0.3)
    entries = {**submission.entries, "on_off-20-hot": behind.entries["on_off-20-hot"]}
    page = leaderboard([submission, behind.model_copy(update={"entries": entries})], small)
    assert "0.1000 (0.0000 to 0.3000)" in page


def test_two_submissions_of_one_name_are_refused(submission: Submission, small: Suite, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_submission(submission, tmp_path / name)
    with pytest.raises(ValueError, match=r"b.json: key 'details.policy': 'forecast' is in another submission too"):
        load_submissions(tmp_path, small)


def test_the_repositorys_table_is_what_its_submissions_say(suite: Suite) -> None:
    assert LEADERBOARD.read_text() == leaderboard(load_submissions(SUBMISSIONS, suite), suite)


def test_every_shipped_rule_stands_in_the_table_as_it_is_now(suite: Suite, book: RuleBook, task: TaskSettings) -> None:
    """Where this fails, rules or simulator have changed: python scripts/submit.py --shipped-rules."""
    found = {item.reference: item for item in load_submissions(SUBMISSIONS, suite)}
    assert {name for name in found if name.startswith("rule:")} == {f"rule:{rule.name}" for rule in book.rules}
    some = suite_worlds(suite, only=["steady-5-calm", "flash_crowd-20-hot"])
    for rule in book.rules:
        item = found[f"rule:{rule.name}"]
        assert item.details.kind == rule.kind
        assert item.source_sha256 == hashlib.sha256(RULES_FILE.read_bytes()).hexdigest()
        assert replay_problems(item, load_entrant(item.reference), some) == []


CALL = ("--policy", "rule:forecast", "--name", "x", "--author", "A", "--out", "o")


def command(*arguments: str) -> Result:
    application = typer.Typer()
    application.command()(submit)
    return CliRunner().invoke(application, list(arguments))


@pytest.mark.slow
def test_anyones_policy_is_scored_and_verified_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: Suite
) -> None:
    """As on a machine without real traces."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    path = tmp_path / "mine.json"
    own = ("--policy", "examples.own_rule:OwnRule", "--kind", "rule", "--author", "A. Uthor", "--name", "own rule")
    scored = command(*own, "--out", str(path))
    assert scored.exit_code == 0, scored.output
    assert "9 replayed entries are left out" in scored.output
    submission = read_submission(path, suite)
    assert submission.source_sha256 == hashlib.sha256((ROOT / "examples" / "own_rule.py").read_bytes()).hexdigest()
    assert len(submission.entries) == 36
    verified = command("--verify", str(path))
    assert verified.exit_code == 0, verified.output
    assert "36 of 36 entries played again, all as submitted" in verified.output

    content = submission.model_dump(mode="json", exclude={"sha256"})
    content["reference"] = "rule:static"
    path.write_text(json.dumps({**content, "sha256": content_sha256(content)}))
    refused = command("--verify", str(path))
    assert refused.exit_code == 1
    assert "played again it differs in 37 places" in refused.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--policy", "rule:forecast"), "--policy needs --name, --author and --out FILE"),
        (("--policy", "rule:forecast", "--shipped-rules"), "give one of --policy, --shipped-rules and --verify"),
        ((*CALL, "--kind", "human"), "--kind: Input should be 'rl', 'rule'"),
        ((*CALL, "--link", "x"), "--link: String should match pattern"),
        ((*CALL, "--name", "a | b"), "--name: String should match pattern"),
        ((*CALL, "--author", "<b>A</b>"), "--author: String should match pattern"),
        (("--suite", "fleetgym-suite-9"), "no such suite; known: fleetgym-suite-1"),
        (("--verify", "absent.json"), "absent.json"),
    ],
)
def test_a_wrong_call_ends_with_status_two_and_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith("submit: ")
    assert result.output.count("\n") == 1
    assert message in result.output
