"""The first line of a report: who won, in plain words."""

from agents.evaluation.audit import NO_MORE_THAN
from agents.evaluation.contest import BOUND, Contest
from agents.evaluation.summaries import bound_content, row_content


def headline(contest: Contest) -> str:
    """Return the report's first line: whether the learned policy beats the best rule or constant action.

    A policy that is one constant action is called that; a comparison that was interrupted is called partial.
    """
    prefix = "PARTIAL, interrupted: " if contest.partial else ""
    if contest.learned is None:
        return prefix + _rules_alone(contest)
    return prefix + _against_constants(contest, contest.learned) + _habit(contest, contest.learned)


def _habit(contest: Contest, learned: str) -> str:
    """Say that a policy is one constant action, or what its few other decisions are worth."""
    taken = contest.habits.get(learned)
    if taken is None or not taken.is_constant:
        return ""
    alone = row_content(contest, taken.name)["total"] if taken.name in contest.played else None
    total = row_content(contest, learned)["total"]
    if alone is not None and abs(alone - total) > NO_MORE_THAN * alone:
        return (
            f" It takes one action in {100 * taken.share:.1f} % of its decisions, {taken.name}; that alone costs "
            f"{alone:.4f}, with the others it costs {total:.4f}."
        )
    return f" It is one constant action: {taken.name}, {100 * taken.share:.1f} % of its decisions."


def _rules_alone(contest: Contest) -> str:
    best = contest.best_rule
    total = row_content(contest, best)["total"]
    line = f"The best rule, named on validation worlds, is {best}: {total:.4f} of reference"
    aws, bound = contest.names("aws"), bound_content(contest)
    if aws:
        line += f"; AWS's cheapest policy, {aws[0]}, {row_content(contest, aws[0])['total']:.4f}"
    return line + (f"; the {BOUND} {bound:.4f}." if bound is not None else ".")


def _against_constants(contest: Contest, learned: str) -> str:
    constant = contest.names("constant", "rule", "aws")[0]
    hindsight = f"the best {'constant action' if contest.kinds[constant] == 'constant' else 'rule'} in hindsight"
    gap = contest.paired().difference(learned, constant)
    if gap.high < 0:
        return (
            f"The learned policy costs {-gap.value:.4f} of reference less than {constant}, {hindsight} "
            f"(95 % interval {-gap.high:.4f} to {-gap.low:.4f})."
        )
    if gap.low > 0:
        return (
            f"The learned policy loses to {constant}, {hindsight}, by {gap.value:.4f} of reference "
            f"(95 % interval {gap.low:.4f} to {gap.high:.4f})."
        )
    return (
        f"The learned policy equals rule {constant}: the difference of {gap.value:+.4f} of reference is inside its "
        f"95 % interval ({gap.low:+.4f} to {gap.high:+.4f})."
    )
