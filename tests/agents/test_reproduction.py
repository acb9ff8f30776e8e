"""Several training seeds: trained as jobs, one chosen on validation, all judged, the page rewritten."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from report_example import BEST, LEARNED, TRACES, full_content

from agents.bundle import Bundle, BundleError, load_bundle
from agents.evaluation.audit import check_report
from agents.evaluation.markdown import markdown
from agents.evaluation.page import render_page
from agents.evaluation.results import agent_section
from agents.evaluation.scoring import bundle_lineup, score
from agents.evaluation.worlds import Worlds, make_worlds
from agents.experiment import TrainSettings
from agents.page_parts import check_part, rewrite_part
from agents.reproduction import CHOICE_FILE, bundle_of, choose, copy_pictures, missing_test_traces, seed_jobs, ship
from agents.rollout import cost_ratio, play
from envs.settings import TaskSettings
from simulators.physics import reference_rps_per_instance
from simulators.scenario import generate
from telemetry.provenance import write_json

ROOT = Path(__file__).resolve().parents[2]


def report() -> dict:
    """A made-up report with everything that ``report.md`` shows."""
    content = full_content()
    content["market_seeds"] = {trace: [2_000_000, 2_000_001] for trace in TRACES}
    content["tight_bound_over_reference"] = 0.18
    for row in content["per_trace"].values():
        row["tight_bound"] = 1.05 * row["bound"]
    return content


def worlds_of(task: TaskSettings, seed: int, markets: int = 2) -> Worlds:
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)
    names = ("bursty", "diurnal")
    scenarios = [generate(name, days=1, seed=seed, rps_per_reference_instance=rps, mean_instances=6) for name in names]
    return make_worlds(scenarios, task, seeds=[seed + number for number in range(markets)], days=3)


def test_further_seeds_are_named_by_their_seed(bundle_folder: Path, other_folder: Path) -> None:
    first, second = load_bundle(bundle_folder), load_bundle(other_folder)
    lineup = bundle_lineup(first, {other_folder: second})
    assert list(lineup.learned) == ["ppo", "ppo seed 8"]
    assert lineup.shipped == "ppo"
    assert lineup.seeds == [3, 8]
    assert lineup.runs == {"ppo": 3, "ppo seed 8": 8}
    assert bundle_lineup(first).runs == {}


def changed(bundle: Bundle, part: str) -> Bundle:
    if part == "task":
        return replace(bundle, task=bundle.task.model_copy(update={"rank_hysteresis": 0.2}))
    if part == "rules":
        return replace(bundle, rules=bundle.rules.model_copy(update={"calibration": {}}))
    return replace(bundle, advisor="static")


@pytest.mark.parametrize("part", ["task", "rules", "advisor"])
def test_a_bundle_of_something_else_is_refused(bundle_folder: Path, other_folder: Path, part: str) -> None:
    first, second = load_bundle(bundle_folder), load_bundle(other_folder)
    with pytest.raises(BundleError, match=rf"bundle: its {part} differs from the shipped bundle's"):
        bundle_lineup(first, {other_folder: changed(second, part)})


def test_a_seed_takes_part_once(bundle_folder: Path) -> None:
    first = load_bundle(bundle_folder)
    with pytest.raises(BundleError, match="training seed 3 takes part already"):
        bundle_lineup(first, {bundle_folder: first})


def test_the_command_refuses_a_seed_twice_by_one_line(bundle_folder: Path, tmp_path: Path) -> None:
    bundle, out = str(bundle_folder), tmp_path / "report"
    done = run("evaluate", "--bundle", bundle, "--also", bundle, "--split", "test", "--out", str(out))
    assert done.returncode == 2
    assert done.stderr == f"evaluate: {bundle}: training seed 3 takes part already; expected another one\n"
    assert not out.exists()


def test_the_seeds_of_a_mean_stand_beside_it(bundle_folder: Path, other_folder: Path, mean_folder: Path) -> None:
    mean, paths = load_bundle(mean_folder), (bundle_folder, other_folder)
    lineup = bundle_lineup(mean, {path: load_bundle(path) for path in paths})
    assert list(lineup.learned) == ["ppo", "ppo seed 3", "ppo seed 8"]
    assert lineup.seeds == [3, 8]
    assert lineup.runs == {"ppo seed 3": 3, "ppo seed 8": 8}
    assert bundle_lineup(mean).seeds == [3, 8]
    stranger = replace(load_bundle(other_folder), manifest={**load_bundle(other_folder).manifest, "seeds": [9]})
    with pytest.raises(BundleError, match=r"training seed 9 is none of the shipped mean's \[3, 8\]"):
        bundle_lineup(mean, {other_folder: stranger})
    with pytest.raises(BundleError, match=r"seeds are \[3, 8\]; expected one training seed"):
        bundle_lineup(load_bundle(bundle_folder), {mean_folder: mean})


def test_the_policy_that_is_cheapest_on_validation_is_chosen(
    bundle_folder: Path, other_folder: Path, task: TaskSettings, tmp_path: Path
) -> None:
    bundles = {"seed 3": load_bundle(bundle_folder), "seed 8": load_bundle(other_folder)}
    validation = worlds_of(task, 1_000_000)
    by_hand = {
        name: cost_ratio(play(item.policy(), validation.bank, task, validation.windows))
        for name, item in bundles.items()
    }
    assert by_hand["seed 3"] != by_hand["seed 8"]
    chosen = choose(bundles, validation, tmp_path)
    assert by_hand[chosen] == min(by_hand.values())
    content = json.loads((tmp_path / CHOICE_FILE).read_text())
    assert content["chosen"] == chosen
    found = {name: row["validation_total_over_reference"] for name, row in content["policies"].items()}
    assert found == pytest.approx(by_hand, abs=1e-6)
    kept = sorted((tmp_path / "played").iterdir())
    assert choose(bundles, validation, tmp_path) == chosen
    assert sorted((tmp_path / "played").iterdir()) == kept, "nothing is played twice"


def test_shipping_replaces_a_bundle_whole_or_not_at_all(
    bundle_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundles" / "default"
    out.parent.mkdir()
    ship(bundle_folder, out)
    ship(other_folder, out)
    assert load_bundle(out).manifest == load_bundle(other_folder).manifest
    broken = tmp_path / "broken"
    shutil.copytree(bundle_folder, broken)
    (broken / "card.md").write_text("better than it is")
    with pytest.raises(BundleError, match=r"card\.md does not match"):
        ship(broken, out)
    assert load_bundle(out).manifest == load_bundle(other_folder).manifest
    ship(bundle_folder, out)
    assert [path.name for path in out.parent.iterdir()] == ["default"]


@pytest.mark.slow
def test_all_seeds_are_judged_and_the_mean_of_their_gaps_is_reported(
    bundle_folder: Path, other_folder: Path, task: TaskSettings, tmp_path: Path
) -> None:
    lineup = bundle_lineup(load_bundle(bundle_folder), {other_folder: load_bundle(other_folder)})
    quick = replace(lineup, book=lineup.book.model_copy(update={"fronts": {}}), makers={})
    content = score(quick, worlds_of(task, 2_000_000), worlds_of(task, 1_000_000, 1), tmp_path)
    assert content["learned"] == "ppo"
    assert content["seeds"] == [3, 8]
    assert [(row["seed"], row["name"]) for row in content["seeds_table"]] == [(3, "ppo"), (8, "ppo seed 8")]
    assert {content["kind"][row["name"]] for row in content["seeds_table"]} == {"rl"}
    over, gaps = content["gap_closed_over_seeds"], [row["gap_closed"]["value"] for row in content["seeds_table"]]
    assert over["seeds"] == 2
    assert over["value"] == pytest.approx(np.mean(gaps), abs=2e-6)
    assert over["ci95"][0] <= over["value"] <= over["ci95"][1]
    best = content["policies"][content["best_rule"]]
    for row in content["seeds_table"]:
        own, reference = content["policies"][row["name"]], content["reference"]
        ratios = {trace: own[trace]["total_usd"] / best[trace]["total_usd"] for trace in own}
        assert row["worst_trace"]["ratio"] == pytest.approx(max(ratios.values()), abs=1e-6)
        assert ratios[row["worst_trace"]["trace"]] == max(ratios.values())
        assert row["total"] == pytest.approx(np.mean([own[t]["total_usd"] / reference[t] for t in own]), abs=2e-6)
        launches = np.mean([own[trace]["launches_per_day"] for trace in own])
        assert row["launches_per_day"] == pytest.approx(launches, abs=1e-6)
        assert f"| {row['seed']} | {row['name']} | {row['total']:.4f} |" in (tmp_path / "report.md").read_text()
    assert [item for item in content["findings"] if "seed" in item and "one action" not in item] == []
    assert "Training seeds" in (tmp_path / "report.html").read_text()
    assert "ppo seed 8" not in (tmp_path / "days.json").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content["seeds_table"].pop(), "seeds_table holds the seeds"),
        (
            lambda content: content["gap_closed_over_seeds"].update(value=0.21, ci95=[0.1, 0.3]),
            "(it is the best run's)",
        ),
        (lambda content: content["gap_closed_over_seeds"].update(ci95=[0.3, 0.4]), "outside its interval"),
    ],
)
def test_a_hidden_seed_or_the_best_one_for_their_mean_is_found(change: object, words: str) -> None:
    content = report()
    before = check_report(content)
    assert not [line for line in before if "seeds" in line]
    change(content)  # type: ignore[operator]
    found = [line for line in check_report(content) if line not in before]
    assert words in "\n".join(found)


def test_report_and_page_show_every_seed() -> None:
    content = report()
    text, page = markdown(content), render_page(content, {}, None)
    for row in content["seeds_table"]:
        assert f"| {row['seed']} | {row['name']} | {row['total']:.4f} |" in text
        assert f">{row['name']}</td>" in page
    assert "mean over 3 training seeds: **0.200 (0.110 to 0.290)**" in text
    assert "mean over 3 training seeds: <strong>0.200 (0.110 to 0.290)</strong>" in page


def with_gap(low: float, high: float) -> dict:
    content = report()
    content["gap_closed"] |= {"value": (low + high) / 2, "ci95": [low, high]}
    return content


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.1, 0.3, "costs less than"), (-0.3, -0.1, "costs more than"), (-0.1, 0.3, "is not told apart from")],
)
def test_the_first_line_says_who_wins(low: float, high: float, words: str) -> None:
    first = agent_section(with_gap(low, high), "An hour.", {}).splitlines()[0]
    assert first.startswith(f"**{LEARNED} {words} the best rule, {BEST}: ")
    assert "No rule is cheaper on any trace." in first
    assert first.endswith(
        "The planner, on its own windows, is cheaper on google_cluster, twitter_stream, flash_crowd#2000000."
    )


def test_the_first_line_says_where_a_rule_still_wins() -> None:
    content = report()
    trace = list(TRACES)[1]
    content["policies"]["mixed-group"][trace]["total_usd"] = 0.1 * content["reference"][trace]
    first = agent_section(content, "An hour.", {}).splitlines()[0]
    assert f"A rule is still cheaper: mixed-group on {trace} (0.100 against " in first


def test_the_section_holds_every_table_and_what_made_it() -> None:
    content = report()
    section = agent_section(content, "Made in an hour.", {"images/agent_shift.png": "In other worlds"})
    assert section.splitlines()[2] == content["first_line"]
    for title in (
        "By trace",
        "Training seeds",
        "Beside target tracking, trace by trace",
        "Against target tracking",
        "When the world is another one",
    ):
        assert f"\n### {title}\n" in section
    for title in ("How often it decides", "How much of the advice is followed", "Where the saving comes from"):
        assert f"\n### {title}\n" in section
    assert "\n## " not in section
    assert "![In other worlds](images/agent_shift.png)" in section
    assert section.endswith("Made in an hour.")
    trace = next(iter(TRACES))
    ours, rival = content["policies"][LEARNED][trace], content["policies"]["target-tracking-cpu"][trace]
    saved = 100 * (1 - ours["total_usd"] / rival["total_usd"])
    row = next(line for line in section.splitlines() if line.startswith(f"| {trace} |") and line.endswith("% |"))
    assert row.endswith(f"| {saved:.1f} % |")


def test_a_part_of_a_page_is_rewritten_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- agent: begin -->\nold\n<!-- agent: end -->\n\nAfter.\n")
    rewrite_part(page, "agent", "new\nlines\n")
    text = "# Title\n\n<!-- agent: begin -->\n\nnew\nlines\n\n<!-- agent: end -->\n\nAfter.\n"
    assert page.read_text() == text
    rewrite_part(page, "agent", "new\nlines")
    assert page.read_text() == text
    for wrong in ("", "<!-- agent: begin -->", "<!-- agent: end -->\n<!-- agent: begin -->", 2 * text):
        page.write_text(wrong)
        with pytest.raises(ValueError, match=r"page\.md: expected one line '<!-- agent: begin -->'"):
            check_part(page, "agent")


def test_only_small_pictures_are_copied(tmp_path: Path) -> None:
    report, images = tmp_path / "report", tmp_path / "docs" / "images"
    report.mkdir()
    (report / "shift.png").write_bytes(b"small")
    (report / "cadence.png").write_bytes(bytes(300_000))
    assert copy_pictures(report, images) == {"images/agent_shift.png": "Totals in other worlds"}
    assert [path.name for path in images.iterdir()] == ["agent_shift.png"]


def test_runs_of_other_settings_are_not_mixed(train_settings: TrainSettings, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    shutil.copytree(run_folder, out / "seed-1")
    seed_jobs(train_settings, out, 2)
    other = train_settings.model_copy(update={"ppo": train_settings.ppo.model_copy(update={"gamma": 0.9})})
    with pytest.raises(ValueError, match=r"seed-1/config\.json: trained with another ppo\.gamma"):
        seed_jobs(other, out, 2)
    seed_jobs(other, out, 1)


def test_a_job_goes_on_from_its_checkpoint_and_adds_its_minutes(
    train_settings: TrainSettings, run_folder: Path, tmp_path: Path
) -> None:
    (job,) = seed_jobs(train_settings, tmp_path, 1)
    job.train()
    before = (job.folder / "best.zip").read_bytes()
    write_json(job.folder / "minutes.json", 12.5)
    job.train()
    assert (job.folder / "best.zip").read_bytes() == before, "there was nothing left to train"
    assert 12.5 <= job.minutes() < 14.0
    assert not bundle_of(job).exists()


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{command}.py"), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_without_traces_the_command_trains_and_ships_and_says_what_it_left_out(
    train_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    config, out, shipped = tmp_path / "tiny.yaml", tmp_path / "out", tmp_path / "bundles" / "default"
    config.write_text(yaml.safe_dump(train_settings.model_dump(mode="json", exclude_defaults=True)))
    arguments = ("--config", str(config), "--out", str(out), "--seeds", "2")
    done = run("reproduce", *arguments, "--bundle-out", str(shipped))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "worldcup98_1min" in done.stderr
    assert "the test split will not be played" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("reproduce: not judged: the test split needs ")
    content = json.loads((out / CHOICE_FILE).read_text())
    assert list(content["policies"]) == ["seed 0", "seed 1", "mean"]
    assert load_bundle(shipped).version == content["policies"][content["chosen"]]["policy"]
    assert load_bundle(out / "mean" / "bundle").manifest["seeds"] == [0, 1]
    assert sorted(line.split(":")[0] for line in done.stdout.splitlines() if "trained in" in line) == [
        "seed 0",
        "seed 1",
    ]
    assert not (out / "report").exists()
    again = run("reproduce", *arguments, "--bundle-out", str(shipped))
    assert again.returncode == 1
    assert again.stdout.startswith("2 of 2 seeds were trained before")
    refused = run("reproduce", *arguments, "--set", "ppo.gamma=0.9")
    assert refused.returncode == 2
    assert "trained with another ppo.gamma" in refused.stderr.splitlines()[-1]


def test_the_traces_of_the_split_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    names = missing_test_traces()
    assert len(names) == 9
    (tmp_path / "demand").mkdir()
    (tmp_path / "demand" / f"{names[0]}.parquet").touch()
    assert missing_test_traces() == names[1:]


def test_a_page_without_the_part_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    (tmp_path / "demand").mkdir()
    for name in missing_test_traces():
        (tmp_path / "demand" / f"{name}.parquet").touch()
    page, config = tmp_path / "results.md", tmp_path / "tiny.yaml"
    page.write_text("# Results\n")
    config.write_text("{}\n")
    done = run("reproduce", "--config", str(config), "--out", str(tmp_path / "out"), "--page", str(page))
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        f"reproduce: {page}: expected one line '<!-- agent: begin -->' and, after it, one line '<!-- agent: end -->'"
    ]
    assert not (tmp_path / "out").exists()
