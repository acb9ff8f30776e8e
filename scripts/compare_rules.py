"""Compare rule books on validation worlds: is a calibrated setting as good as its default, or as a random search's?"""

from pathlib import Path
from typing import Annotated

import typer

from scripts.command import UsageError, clear_errors
from telemetry.splits import data_folder


def compare_rules(
    books: Annotated[list[Path], typer.Argument(help="Rule books with the same rules, .yaml or .json.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the listed traces; FLEETGYM_DATA/demand or ../shared/data/demand.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON file to write: rule, then book, then total over reference.")
    ] = None,
) -> None:
    """Print the total over reference of every rule of each book on the validation split."""
    with clear_errors("compare_rules"):
        from agents.evaluation.contest import name_best_rule
        from agents.evaluation.worlds import split_files, validation_source, validation_worlds
        from agents.rules import load_rules
        from envs.settings import TaskSettings
        from telemetry.provenance import write_json

        loaded = {path: load_rules(path) for path in books}
        names = [rule.name for rule in loaded[books[0]].rules]
        for path, book in loaded.items():
            if [rule.name for rule in book.rules] != names:
                raise UsageError(f"{path}: expected the rules of {books[0]}: {', '.join(names)}")
        source = validation_source(split_files(data or data_folder() / "demand"))
        worlds = validation_worlds(TaskSettings(), source)
        totals = {
            path.stem: name_best_rule(book, book.task(TaskSettings()), worlds)[1] for path, book in loaded.items()
        }
        typer.echo(f"{'':26}" + "".join(f"{stem:>18}" for stem in totals))
        for name in names:
            typer.echo(f"{name:26}" + "".join(f"{found[name]:18.4f}" for found in totals.values()))
        if out is not None:
            write_json(out, {name: {stem: found[name] for stem, found in totals.items()} for name in names})


if __name__ == "__main__":
    typer.run(compare_rules)
