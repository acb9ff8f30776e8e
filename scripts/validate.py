"""Check the simulator against theory, traces and documents, and measure what each of its mechanisms is worth."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.command import UsageError, clear_errors, progress_bar
from telemetry.splits import data_folder


def validate(
    out: Annotated[Path, typer.Option(help="Folder of fidelity.json, fidelity.md and the figures.")],
    only: Annotated[
        list[str] | None, typer.Option(help="latency, spot, relief, realism or influence; repeatable.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Leave out what takes minutes.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the resampling of worlds.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of the traces; FLEETGYM_DATA or ../shared/data.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="Run nothing: write the figures of OUT/fidelity.json into this page.")
    ] = None,
) -> None:
    """Run the validations and the influence study; parts that are not run keep their entry in OUT/fidelity.json."""
    with clear_errors("validate"):
        from agents.fidelity import (
            JSON_NAME,
            PAGE_NAME,
            PARTS,
            Request,
            load_report,
            run_part,
            save_report,
            summary_table,
            write_figures,
        )
        from telemetry.provenance import write_record

        report = load_report(out)
        if page is not None:
            if not report:
                raise UsageError(f"{out / JSON_NAME}: no such file; run scripts/validate.py --out {out} first")
            write_figures(page, report)
            typer.echo(f"figures: {page}")
            return
        names = list(dict.fromkeys(only or PARTS))
        unknown = [name for name in names if name not in PARTS]
        if unknown:
            raise UsageError(f"--only {unknown[0]}: expected one of {', '.join(PARTS)}")
        folder = data or data_folder()
        for name in names:
            with progress_bar(name, 100) as show:
                report[name] = run_part(name, Request(folder, quick, seed, show), out)
                show(100)
            report = save_report(report, out)
            skipped = report[name]["skipped"]
            if skipped:
                typer.echo(f"{name}: not run, {skipped}")
        write_record(out, config={"only": names, "quick": quick, "data": str(folder)}, seed=seed)
        typer.echo(summary_table(report))
        typer.echo(f"report: {out / PAGE_NAME}")


if __name__ == "__main__":
    typer.run(validate)
