"""From worlds and policies to a folder with report, pictures and page."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.bundle import POLICY_FILE, Bundle, LearnedPolicy
from agents.evaluation.cadence import cadence_and_adherence
from agents.evaluation.contest import Contest, Progress, compare
from agents.evaluation.day import Days, record_day
from agents.evaluation.folder import write_pictures_and_page
from agents.evaluation.planner_study import planner_table
from agents.evaluation.playing import Desk
from agents.evaluation.report import write_report
from agents.evaluation.shift import shift_table
from agents.evaluation.store import Store
from agents.evaluation.studies import Players, perfect_forecasts
from agents.evaluation.summaries import Json
from agents.evaluation.worlds import Worlds
from agents.planner import Planner, PlannerSettings
from agents.policies import Policy
from agents.rules import RuleBook
from envs.settings import TaskSettings
from simulators.scenario import Scenario

PLAYED_FOLDER: Final = "played"
SHIPPED: Final = "ppo"


@dataclass(frozen=True)
class Lineup:
    """Who is compared.

    Attributes:
        book: Pooled rules.
        task: Their task.
        learned: Learned policies, and anyone's, by name.
        shipped: The one that stands for the bundle; None if there is no bundle.
        identities: What learned policies are, for those whose results may be kept.
        seeds: Of the training.
        trace_books: Rules calibrated on the history of single traces, by trace.
    """

    book: RuleBook
    task: TaskSettings
    learned: dict[str, Policy] = field(default_factory=dict)
    shipped: str | None = None
    identities: Mapping[str, str] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    trace_books: Mapping[str, RuleBook] = field(default_factory=dict)


def bundle_lineup(bundle: Bundle) -> Lineup:
    """Return a bundle's rules and its policy."""
    return Lineup(
        bundle.rules,
        bundle.task,
        {SHIPPED: LearnedPolicy(bundle.policy_onnx, bundle.task)},
        SHIPPED,
        {SHIPPED: str(bundle.manifest["files"][POLICY_FILE])},
        bundle.manifest["seeds"],
    )


def score(
    lineup: Lineup,
    test: Worlds,
    validation: Worlds,
    out: Path,
    *,
    perfect: Callable[[], list[Scenario]] | None = None,
    studies: bool = False,
    planner: bool = False,
    say: Progress = lambda _: None,
) -> Json:
    """Run the comparison and write everything; return the content of ``report.json``.

    What is played is kept in ``out/played``, so the same call goes on where an interrupted one stopped. Interrupted, it
    reports what there is, without pictures.

    Args:
        lineup: Who is compared.
        test: Worlds that decide.
        validation: Worlds that name the best rule.
        out: Folder of the report.
        perfect: Makes the test scenarios with perfect forecasts, for a study.
        studies: Also compare with perfect forecasts, in other worlds, at other cadences, and with half of
            the advice ignored.
        planner: Also play the planner, on a part of the test worlds.
        say: Told what is being played.

    Raises:
        KeyboardInterrupt: Interrupted before there was anything to report.
    """
    desk = Desk(Store(out / PLAYED_FOLDER))
    contest = compare(
        lineup.book,
        lineup.task,
        test,
        validation,
        learned=lineup.learned,
        shipped=lineup.shipped,
        identities=lineup.identities,
        trace_books=lineup.trace_books,
        desk=desk,
        say=say,
    )
    found: Json = {}
    if not contest.partial:
        try:
            for part in _studies(contest, lineup, perfect, desk, say, everything=studies, planner=planner):
                found |= part
        except KeyboardInterrupt:
            contest.partial = True
    content = write_report(contest, lineup.book, out, seeds=lineup.seeds, studies=found)
    write_pictures_and_page(content, {} if contest.partial else _days(contest, lineup), lineup.task, out)
    return content


def _studies(
    contest: Contest,
    lineup: Lineup,
    perfect: Callable[[], list[Scenario]] | None,
    desk: Desk,
    say: Progress,
    *,
    everything: bool,
    planner: bool,
) -> Iterator[Json]:
    shipped = lineup.shipped or ""
    players = Players(lineup.book, lineup.task, lineup.learned.get(shipped), lineup.identities.get(shipped))
    if everything and perfect is not None:
        say("the best rule with perfect forecasts")
        yield {"perfect_forecasts": perfect_forecasts(contest, players, perfect(), desk)}
    if everything:
        say("other cadences, half of the advice")
        yield cadence_and_adherence(contest, players, desk)
        yield {"shift": shift_table(contest, players, desk, say)}
    if planner:
        say("the planner")
        effort = PlannerSettings()

        def make() -> Policy:
            return Planner(lineup.task, lineup.book, effort)

        yield {"planner": planner_table(contest, players, make, effort.model_dump_json(), desk)}


def _days(contest: Contest, lineup: Lineup) -> dict[str, Days]:
    """Play the first scored day of each scenario under the learned policies, the best rule and AWS's best."""
    test, task = contest.worlds, lineup.task
    shown: dict[str, Policy] = dict(lineup.learned)
    for name in (contest.best_rule, *contest.names("aws")[:1]):
        shown[name] = lineup.book.policy(name, task)
    return {
        scenario.name: {
            name: record_day(policy, test.bank, task, index * len(test.seeds), scenario.first_tick)
            for name, policy in shown.items()
        }
        for index, scenario in enumerate(test.scenarios)
    }
