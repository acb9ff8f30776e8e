"""Pytest plugin: every mark fact(...) names a fact of docs/facts.yaml, and --fidelity-page writes them all down."""

from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from fidelity import Fact, Marks, contradictions, load_facts, pending, tables, write_page

FACTS = pytest.StashKey[dict[str, Fact]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fidelity-page",
        metavar="PATH",
        help="write documented behaviours and their tests to this page (--collect-only --fidelity-page=PATH)",
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[FACTS] = load_facts(config.rootpath / "docs" / "facts.yaml")
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Collector) -> Generator[None, object, object]:
    """Refuse a test file whose marks name no fact, or one that is left out, whoever collects it (xdist as well)."""
    made = yield
    nodes = made if isinstance(made, list) else [made]
    wrong = contradictions(collector.config.stash[FACTS], collect_marks(nodes))
    if wrong:
        raise collector.CollectError("\n".join(wrong))
    return made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write the page, if one is asked for, before any test is deselected."""
    page = config.getoption("--fidelity-page")
    if page is None:
        return
    if session.testsfailed or config.args_source is pytest.Config.ArgsSource.ARGS:
        raise pytest.UsageError("--fidelity-page needs all tests: no paths given, and no file that fails to load")
    facts, marks = config.stash[FACTS], collect_marks(items)
    try:
        write_page(Path(page), tables(facts, marks))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    waiting = pending(facts, marks)
    if waiting:
        lines = "\n".join(f"  {fact.id}  {fact.claim}" for fact in waiting)
        raise pytest.UsageError(f"{page} lacks {len(waiting)} facts that have neither a test nor a treatment:\n{lines}")


def collect_marks(nodes: Iterable[object]) -> Marks:
    """Return the names of the tests that carry each fact, parametrised ones once, both in order."""
    found: dict[str, set[str]] = {}
    for item in (node for node in nodes if isinstance(node, pytest.Item)):
        name = item.nodeid.partition("[")[0]
        for mark in item.iter_markers("fact"):
            if not mark.args or mark.kwargs:
                raise pytest.Collector.CollectError(f"{name}: expected fact numbers, as in fact('TT-04'), got {mark}")
            for number in mark.args:
                found.setdefault(number, set()).add(name)
    return {number: sorted(found[number]) for number in sorted(found)}
