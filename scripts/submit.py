"""Score a policy on the frozen suite, write its submission, and keep the repository's results table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scripts.command import UsageError, clear_errors
from telemetry.splits import data_folder

if TYPE_CHECKING:
    from agents.evaluation.submissions import Details
    from agents.evaluation.suite_scores import SuiteWorlds
    from simulators.suite import Suite


_SHIPPED = "shipped-"
"""How the files of shipped rules begin, which are replaced as a whole."""


def submit(
    policy: Annotated[str | None, typer.Option(help="module:factory, rule:NAME or bundle:PATH.")] = None,
    out: Annotated[Path | None, typer.Option(help="File of the submission.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in the table.")] = None,
    kind: Annotated[str, typer.Option(help="rl, rule, aws, planner, constant or other.")] = "other",
    author: Annotated[list[str] | None, typer.Option(help="Who made it; repeatable.")] = None,
    link: Annotated[str, typer.Option(help="https address that describes it.")] = "",
    note: Annotated[str, typer.Option(help="One line: how it was made, and on what.")] = "",
    shipped_rules: Annotated[bool, typer.Option(help="Score every shipped rule for the repository's table.")] = False,
    rules: Annotated[Path | None, typer.Option(help="Rule book that is the menu; the shipped one if absent.")] = None,
    verify: Annotated[Path | None, typer.Option(help="Play the policy of this submission again and compare.")] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Folder of the replayed traces; FLEETGYM_DATA/demand or ../shared/data/demand.")
    ] = None,
    suite: Annotated[str, typer.Option(help="Name of the suite.")] = "fleetgym-suite-1",
) -> None:
    """Without --policy, --shipped-rules or --verify: check the repository's submissions and write its table anew."""
    with clear_errors("submit"):
        from simulators.suite import load_suite

        chosen = load_suite(suite)
        if sum((policy is not None, shipped_rules, verify is not None)) > 1:
            raise UsageError("give one of --policy, --shipped-rules and --verify")
        folder = traces or data_folder() / "demand"
        if verify is not None:
            _verify(verify, chosen, folder, rules)
        elif policy is not None:
            if out is None or name is None or not author:
                raise UsageError("--policy needs --name, --author and --out FILE")
            fields = {"policy": name, "kind": kind, "authors": tuple(author), "link": link, "note": note}
            _score(policy, _details(fields), out, chosen, _worlds(chosen, folder), rules)
        elif shipped_rules:
            _score_rules(chosen, folder)
        if verify is None and (out is None or out.parent.resolve() == _submissions()):
            _write_table(chosen)


def _submissions() -> Path:
    from agents.evaluation.submissions import SUBMISSIONS

    return SUBMISSIONS


def _worlds(suite: "Suite", traces: Path) -> "SuiteWorlds":
    from agents.evaluation.suite_scores import suite_worlds

    worlds = suite_worlds(suite, traces=traces)
    if worlds.absent:
        typer.echo(f"{len(worlds.absent)} replayed entries are left out: no trace files in {traces}", err=True)
    return worlds


def _details(fields: Mapping[str, object]) -> "Details":
    from pydantic import ValidationError

    from agents.evaluation.submissions import Details

    try:
        return Details.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        option = {"policy": "name", "authors": "author"}.get(str(first["loc"][0]), first["loc"][0])
        raise UsageError(f"--{option}: {first['msg']} (got {first['input']!r})") from error


def _score(
    reference: str, details: "Details", out: Path, suite: "Suite", worlds: "SuiteWorlds", rules: Path | None = None
) -> None:
    from agents.evaluation.entrants import load_entrant
    from agents.evaluation.submissions import make_submission, write_submission
    from agents.rules import RULES_FILE

    submission = make_submission(load_entrant(reference, rules=rules or RULES_FILE), details, suite, worlds)
    write_submission(submission, out)
    typer.echo(f"{details.policy}: {submission.total_over_reference:.4f} of reference on {suite.name}; {out}")


def _score_rules(suite: "Suite", traces: Path) -> None:
    from agents.rules import load_rules

    worlds, book, folder = _worlds(suite, traces), load_rules(), _submissions()
    for rule in book.rules:
        note = book.calibration.get(rule.name, "")
        fields = {"policy": rule.name, "kind": rule.kind, "authors": ("FleetGym",), "note": note}
        _score(f"rule:{rule.name}", _details(fields), folder / f"{_SHIPPED}{rule.name}.json", suite, worlds)
    names = {f"{_SHIPPED}{rule.name}.json" for rule in book.rules}
    for path in folder.glob(f"{_SHIPPED}*.json"):
        if path.name not in names:
            path.unlink()


def _verify(path: Path, suite: "Suite", traces: Path, rules: Path | None) -> None:
    from agents.evaluation.entrants import load_entrant
    from agents.evaluation.submissions import read_submission, replay_problems
    from agents.rules import RULES_FILE

    submission = read_submission(path, suite)
    worlds = _worlds(suite, traces)
    entrant = load_entrant(submission.reference, rules=rules or RULES_FILE)
    problems = replay_problems(submission, entrant, worlds)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        typer.echo(f"submit: {path}: played again it differs in {len(problems)} places", err=True)
        raise typer.Exit(1)
    played = len(set(submission.entries) & set(worlds.entries))
    typer.echo(f"{path}: {played} of {len(submission.entries)} entries played again, all as submitted")


def _write_table(suite: "Suite") -> None:
    from agents.evaluation.leaderboard import LEADERBOARD, leaderboard, load_submissions
    from telemetry.provenance import write_text

    submissions = load_submissions(_submissions(), suite)
    write_text(LEADERBOARD, leaderboard(submissions, suite))
    typer.echo(f"{len(submissions)} submissions: {LEADERBOARD}")


if __name__ == "__main__":
    typer.run(submit)
