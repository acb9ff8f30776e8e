"""From worlds and policies to a folder with report, pictures and page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agents.bundle import POLICY_FILE, Bundle, BundleError, differing_part
from agents.evaluation.cadence import cadence_and_adherence
from agents.evaluation.causality import check_policy_causality, check_scenarios
from agents.evaluation.conduct import check_calibrated_on
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
from agents.evaluation.training_runs import runs_content
from agents.evaluation.worlds import Worlds
from agents.planner import Planner, PlannerSettings
from agents.policies import Policy
from agents.rollout import Windows
from agents.rules import RuleBook
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.scenario import Scenario

PLAYED_FOLDER: Final = "played"
SHIPPED: Final = "ppo"
_DAY_MINUTES: Final = 1440


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
        runs: Training seed of each learned policy that is a run of the bundle's training; empty for one run alone.
        trace_books: Rules calibrated on the history of single traces, by trace.
        makers: Make learned policies anew, by name, for a look at whether they peek.
    """

    book: RuleBook
    task: TaskSettings
    learned: dict[str, Policy] = field(default_factory=dict)
    shipped: str | None = None
    identities: Mapping[str, str] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    runs: Mapping[str, int] = field(default_factory=dict)
    trace_books: Mapping[str, RuleBook] = field(default_factory=dict)
    makers: Mapping[str, Callable[[], Policy]] = field(default_factory=dict)


def bundle_lineup(bundle: Bundle, also: Mapping[Path, Bundle] | None = None) -> Lineup:
    """Return a bundle's rules and its policy, and the policies of further runs of the same training.

    Args:
        bundle: The shipped one: a run, or the mean of several.
        also: Bundles of other training seeds, or those of a mean's own, by path; their policies are named
            ``ppo seed N``.

    Raises:
        BundleError: A further bundle is of another task, rules or advisor, its seed is not a single new one, or not one
            of the mean's.
    """
    shipped_seeds: list[int] = list(bundle.manifest["seeds"])
    is_mean = len(shipped_seeds) > 1
    runs = {} if is_mean else {SHIPPED: shipped_seeds[0]}
    bundles = {SHIPPED: bundle}
    for path, other in (also or {}).items():
        seed = _seed_beside(bundle, path, other, list(runs.values()))
        name = f"{SHIPPED} seed {seed}"
        bundles[name], runs[name] = other, seed
    return Lineup(
        bundle.rules,
        bundle.task,
        {name: item.policy() for name, item in bundles.items()},
        SHIPPED,
        {name: str(item.manifest["files"][POLICY_FILE]) for name, item in bundles.items()},
        list(runs.values()) or shipped_seeds,
        runs=runs if also else {},
        makers={name: item.policy for name, item in bundles.items()},
    )


def _seed_beside(shipped: Bundle, path: Path, other: Bundle, seeds: Sequence[int]) -> int:
    """Return the training seed of a further bundle once it is known to belong beside the others."""
    part = differing_part(shipped, other)
    if part is not None:
        raise BundleError(f"{path}: its {part} differs from the shipped bundle's; expected a run of the same one")
    own, whole = other.manifest["seeds"], shipped.manifest["seeds"]
    if len(own) != 1:
        raise BundleError(f"{path}: seeds are {own}; expected one training seed")
    if own[0] in seeds:
        raise BundleError(f"{path}: training seed {own[0]} takes part already; expected another one")
    if len(whole) > 1 and own[0] not in whole:
        raise BundleError(f"{path}: training seed {own[0]} is none of the shipped mean's {whole}")
    return int(own[0])


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
    reports what there is, without days.

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
    say("what rules and forecasts know")
    findings = conduct_findings(lineup, test)
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
    found: Json = runs_content(contest, lineup.runs) if lineup.runs else {}
    if not contest.partial:
        try:
            for part in _studies(contest, lineup, perfect, desk, say, everything=studies, planner=planner):
                found |= part
        except KeyboardInterrupt:
            contest.partial = True
    content = write_report(contest, lineup.book, out, seeds=lineup.seeds, studies=found, findings=findings)
    write_pictures_and_page(content, {} if contest.partial else _days(contest, lineup), lineup.task, out)
    return content


def conduct_findings(lineup: Lineup, test: Worlds) -> list[str]:
    """Return what rules were calibrated on, forecasts know and policies act on that they may not, one line each."""
    history = {scenario.name: scenario.first_tick for scenario in test.scenarios}
    findings = [f"rules: {line}" for line in check_calibrated_on(lineup.book.calibrated_on)]
    for name, book in lineup.trace_books.items():
        findings += [f"rules of {name}: {line}" for line in check_calibrated_on(book.calibrated_on, history=history)]
    findings += check_scenarios(test.scenarios, metric_delay_ticks=lineup.task.world.physics.metric_delay_ticks)
    start = test.windows.starts[:1]
    day = Windows(test.windows.worlds[:1], start, start + _DAY_MINUTES, test.windows.seeds[:1])
    noon = int(start[0]) + _DAY_MINUTES // 2
    for name, make in lineup.makers.items():
        peeks = check_policy_causality(_for_any_bank(make), test.bank, lineup.task, day, noon)
        findings += [f"{name}: {line}" for line in peeks]
    return findings


def _for_any_bank(make: Callable[[], Policy]) -> Callable[[Bank], Policy]:
    return lambda _: make()


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
    """Play the first scored day of each scenario under the learned policies, the best rule and AWS's best.

    Of several runs of one training only the shipped one is shown.
    """
    test, task = contest.worlds, lineup.task
    learned = lineup.learned.items()
    shown = {name: policy for name, policy in learned if name == lineup.shipped or name not in lineup.runs}
    for name in (contest.best_rule, *contest.names("aws")[:1]):
        shown[name] = lineup.book.policy(name, task)
    return {
        scenario.name: {
            name: record_day(policy, test.bank, task, index * len(test.seeds), scenario.first_tick)
            for name, policy in shown.items()
        }
        for index, scenario in enumerate(test.scenarios)
    }
