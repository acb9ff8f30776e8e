"""From worlds and policies to a folder with report and plots."""

from collections.abc import Callable
from pathlib import Path

from agents.bundle import Bundle
from agents.evaluation.contest import compare
from agents.evaluation.plots import plot_day, plot_front, record_day
from agents.evaluation.report import headline, write_report
from agents.evaluation.worlds import Worlds
from agents.policies import ConstantPolicy, Policy


def score(
    bundle: Bundle,
    test: Worlds,
    validation: Worlds,
    out: Path,
    *,
    learned: dict[str, Policy],
    shipped: str,
    say: Callable[[str], None],
) -> str:
    """Run the comparison of a bundle and write everything; return the report's first line.

    Args:
        bundle: Rules, task and manifest.
        test: Worlds that decide.
        validation: Worlds that name the best rule.
        out: Folder of the report.
        learned: Policies to score, by name.
        shipped: The one that stands for the bundle.
        say: Told what is being played.
    """
    contest = compare(bundle.rules, bundle.task, test, validation, learned=learned, shipped=shipped, say=say)
    write_report(contest, bundle.rules, out, seeds=bundle.manifest["seeds"])
    plot_front(contest, out / "cost_against_bad_minutes.png")
    tracking = contest.names("aws")[0]
    shown: dict[str, Policy] = {name: learned[name] for name in learned}
    for name in dict.fromkeys((contest.best_rule, tracking)):
        shown[name] = ConstantPolicy(bundle.rules.action(name, bundle.task))
    for index, scenario in enumerate(test.scenarios):
        world = index * len(test.seeds)
        days = {
            name: record_day(policy, test.bank, bundle.task, world, scenario.first_tick)
            for name, policy in shown.items()
        }
        path = out / f"day_{scenario.name.replace('#', '_').replace(':', '_')}.png"
        plot_day(days, f"{scenario.name}: first scored day", bundle.task.decision_minutes, path)
    return headline(contest)
