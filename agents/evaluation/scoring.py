"""From worlds and policies to a folder with report, pictures and page."""

from collections.abc import Callable
from pathlib import Path

from agents.bundle import Bundle
from agents.evaluation.contest import compare
from agents.evaluation.day import record_day
from agents.evaluation.folder import write_pictures_and_page
from agents.evaluation.report import headline, write_report
from agents.evaluation.worlds import Worlds
from agents.policies import Policy


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
    content = write_report(contest, bundle.rules, out, seeds=bundle.manifest["seeds"])
    tracking = contest.names("aws")[0]
    shown: dict[str, Policy] = {name: learned[name] for name in learned}
    for name in dict.fromkeys((contest.best_rule, tracking)):
        shown[name] = bundle.rules.policy(name, bundle.task)
    days = {
        scenario.name: {
            name: record_day(policy, test.bank, bundle.task, index * len(test.seeds), scenario.first_tick)
            for name, policy in shown.items()
        }
        for index, scenario in enumerate(test.scenarios)
    }
    write_pictures_and_page(content, days, bundle.task, out)
    return headline(contest)
