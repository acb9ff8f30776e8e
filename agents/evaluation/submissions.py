"""A submission: one policy's scores on a frozen suite, in one file that can be checked and played again."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.evaluation.entrants import Entrant
from agents.evaluation.suite_scores import FLEETS_PER_ENTRY, EntryScore, SuiteWorlds, score_on_suite
from envs.observation import schema_hash
from envs.settings import ENVIRONMENT_VERSION, TaskSettings
from simulators.suite import HASH, Suite
from telemetry.provenance import git_commit, versions, write_text

FORMAT: Final = "fleetgym-submission-1"
SUBMISSIONS: Final = Path(__file__).resolve().parents[2] / "benchmarks" / "submissions"
Kind = Literal["rl", "rule", "aws", "planner", "constant", "other"]
_ROUNDING_USD: Final = 3e-6
_REPLAY_TOLERANCE: Final = 1e-4


class SubmissionError(ValueError):
    """A submission that cannot be read or trusted; the message names file, key, value and what was expected."""


class Details(BaseModel):
    """What a submission's authors say about it.

    Attributes:
        policy: Name in the table.
        kind: What it is: learned (``rl``), a rule, AWS's own, a planner, one constant action, or something else.
        authors: Who made it.
        link: Where it is described, https; may be empty.
        note: One line on how it was made, and on what.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,59}$")
    kind: Kind
    authors: tuple[Annotated[str, Field(pattern=r"^[^\n|<>]{1,80}$")], ...] = Field(min_length=1)
    link: str = Field("", pattern=r"^(https://[^\s|()<>]+)?$")
    note: str = Field("", max_length=600, pattern=r"^[^\n|<>]*$")


class Submission(BaseModel):
    """A submission file.

    Attributes:
        format: Version of the format.
        details: What its authors say.
        reference: What the policy was loaded by (``agents.evaluation.entrants``).
        source_sha256: Of the file that says what it does.
        environment: Environment version.
        task_schema: Hash of observation, action, menu and objective.
        suite: Name of the suite.
        suite_sha256: Of the names and hashes of its entries.
        fleets_per_entry: Fleets that each figure is a mean over.
        entries: Scores by entry, in the suite's order.
        absent: Replayed entries whose trace was not there.
        total_over_reference: Mean over the generated entries of total USD over reference USD.
        git_commit: Of the code that scored it.
        versions: Of what it ran on.
        sha256: Of everything above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["fleetgym-submission-1"] = FORMAT
    details: Details
    reference: str
    source_sha256: str = Field(pattern=HASH)
    environment: str
    task_schema: str
    suite: str
    suite_sha256: str = Field(pattern=HASH)
    fleets_per_entry: int
    entries: dict[str, EntryScore]
    absent: tuple[str, ...]
    total_over_reference: float
    git_commit: str | None
    versions: dict[str, str]
    sha256: str = Field(pattern=HASH)


def suite_sha256(suite: Suite) -> str:
    """Return the hash of a suite: of the names and hashes of its entries, in order."""
    lines = "".join(f"{entry.id} {entry.hash}\n" for entry in suite.entries)
    return hashlib.sha256(lines.encode()).hexdigest()


def mean_over_reference(scores: dict[str, EntryScore], suite: Suite, field: str = "total_usd") -> float:
    """Return the mean over the generated entries of USD over reference USD; every entry counts the same."""
    names = [entry.id for entry in suite.generated]
    return float(np.mean([getattr(scores[name], field) / scores[name].reference_usd for name in names]))


def make_submission(entrant: Entrant, details: Details, suite: Suite, worlds: SuiteWorlds) -> Submission:
    """Play an entrant on a suite and say what came out."""
    scores = score_on_suite(entrant.policy, entrant.task, worlds)
    content = {
        "format": FORMAT,
        "details": details.model_dump(mode="json"),
        "reference": entrant.reference,
        "source_sha256": entrant.sha256,
        "environment": ENVIRONMENT_VERSION,
        "task_schema": schema_hash(entrant.task),
        "suite": suite.name,
        "suite_sha256": suite_sha256(suite),
        "fleets_per_entry": FLEETS_PER_ENTRY,
        "entries": {name: score.model_dump(mode="json") for name, score in scores.items()},
        "absent": list(worlds.absent),
        "total_over_reference": round(mean_over_reference(scores, suite), 6),
        "git_commit": git_commit(),
        "versions": versions(),
    }
    return Submission.model_validate({**content, "sha256": content_sha256(content)})


def content_sha256(content: dict[str, Any]) -> str:
    """Return the hash of a submission's content without its hash."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_submission(submission: Submission, path: Path) -> None:
    """Write a submission as JSON, by a temporary file and a rename."""
    write_text(path, json.dumps(submission.model_dump(mode="json"), indent=1) + "\n")


def read_submission(path: Path, suite: Suite) -> Submission:
    """Read a submission and check it.

    Raises:
        SubmissionError: Not a submission of this suite, changed by hand, or figures that cannot be.
    """
    try:
        submission = Submission.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise SubmissionError(f"{path}: key {key!r}: {first['msg']} (got {str(first['input'])[:80]!r})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{path}: {error}") from error
    problems = submission_problems(submission, suite)
    if problems:
        raise SubmissionError(f"{path}: {problems[0]}")
    return submission


def submission_problems(submission: Submission, suite: Suite) -> list[str]:
    """Return what is wrong with a submission, one line each: another suite, missing entries, broken identities."""
    return (
        _identity_problems(submission, suite)
        or _entry_problems(submission, suite)
        or [problem for name, score in submission.entries.items() for problem in _score_problems(name, score)]
        or _mean_problems(submission, suite)
    )


def _identity_problems(submission: Submission, suite: Suite) -> list[str]:
    content = submission.model_dump(mode="json", exclude={"sha256"})
    known = {
        "sha256": content_sha256(content),
        "suite": suite.name,
        "suite_sha256": suite_sha256(suite),
        "environment": ENVIRONMENT_VERSION,
        "fleets_per_entry": FLEETS_PER_ENTRY,
    }
    found = submission.model_dump()
    return [f"key {key!r} is {found[key]!r}, expected {value!r}" for key, value in known.items() if found[key] != value]


def _entry_problems(submission: Submission, suite: Suite) -> list[str]:
    replayed = [entry.id for entry in suite.replayed]
    problems = [f"key 'absent': {name!r} is no replayed entry" for name in submission.absent if name not in replayed]
    expected = [entry.id for entry in suite.entries if entry.id not in submission.absent]
    if list(submission.entries) != expected:
        odd = sorted(set(submission.entries) ^ set(expected)) or ["their order"]
        problems.append(f"key 'entries' differs from the suite's: {', '.join(odd)}")
    return problems


def _score_problems(name: str, score: EntryScore) -> list[str]:
    """Return which identities a score breaks."""
    problems = []
    if abs(score.infra_usd + score.slo_penalty_usd - score.total_usd) > _ROUNDING_USD:
        problems.append(
            f"entry {name!r}: total_usd is {score.total_usd}, bill and penalty are "
            f"{score.infra_usd + score.slo_penalty_usd:.6f}"
        )
    if score.total_usd < score.bound_usd - _ROUNDING_USD:
        problems.append(f"entry {name!r}: total_usd {score.total_usd} is below the bound, {score.bound_usd}")
    full_usd = TaskSettings().world.objective.penalty_multiple * score.reference_usd
    if abs(score.slo_penalty_usd - full_usd * score.bad_minutes_fraction) > _ROUNDING_USD + 1e-6 * full_usd:
        problems.append(
            f"entry {name!r}: slo_penalty_usd is {score.slo_penalty_usd}, its bad minutes cost "
            f"{full_usd * score.bad_minutes_fraction:.6f}"
        )
    return problems


def _mean_problems(submission: Submission, suite: Suite) -> list[str]:
    mean = mean_over_reference(submission.entries, suite)
    if abs(mean - submission.total_over_reference) > 1e-6:
        return [f"key 'total_over_reference' is {submission.total_over_reference}, its entries give {mean:.6f}"]
    return []


def replay_problems(submission: Submission, entrant: Entrant, worlds: SuiteWorlds) -> list[str]:
    """Play a submission's policy again; return where it differs, one line each.

    USD may differ by a ten-thousandth of the reference: other processors round otherwise.
    """
    problems = []
    if entrant.sha256 != submission.source_sha256:
        problems.append(f"source of {submission.reference} is {entrant.sha256}, submitted {submission.source_sha256}")
    scores = score_on_suite(entrant.policy, entrant.task, worlds)
    for name in (name for name in submission.entries if name in scores):
        submitted, found = submission.entries[name], scores[name]
        for field in ("total_usd", "bound_usd"):
            was, now = getattr(submitted, field), getattr(found, field)
            if abs(now - was) > _REPLAY_TOLERANCE * found.reference_usd:
                problems.append(f"entry {name!r}: {field} is {now}, submitted {was}")
    return problems
