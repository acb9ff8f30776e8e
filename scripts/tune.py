"""Search for PPO's hyper-parameters by short training runs; a study in the same folder goes on."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scripts.command import ConfigOption, SetOption, UsageError, clear_errors, load_config, progress_bar

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_RANKED_FROM = 10
"""Complete trials from which on the importance of hyper-parameters is told."""


def tune(
    out: Annotated[Path, typer.Option(help="Folder of the study; one that holds a study goes on.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all, earlier ones included; the configuration's if absent.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, one core each.")] = 1,
    engine: Annotated[Literal["optuna", "ray"], typer.Option(help="Who runs the trials.")] = "optuna",
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, host:port or auto; Ray on this machine if absent.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search; a trial trains with this plus its number.")] = 0,
) -> None:
    """Write best.yaml (for train.py --config) and trials.csv, and print the best."""
    with clear_errors("tune"):
        if address is not None and engine != "ray":
            raise UsageError(f"--address {address}: only with --engine ray")
        if engine == "ray" and importlib.util.find_spec("ray") is None:
            raise UsageError("--engine ray: Ray is not installed; run: python -m pip install --editable '.[scale]'")
        from agents.experiment import missing_traces
        from agents.tuning import STUDY_FILE, TuneSettings, finished_trials, open_study, write_results

        settings = load_config(TuneSettings, config, set_)
        wanted = settings.trials if trials is None else trials
        missing = missing_traces(settings.train)
        if missing:
            typer.echo(f"tune: without the traces that are not there: {', '.join(missing)}", err=True)
        with open_study(out, settings, seed=seed) as study:
            try:
                with progress_bar("tuning", wanted) as show:
                    show(len(finished_trials(study)))
                    on_trial = _teller(study, show)
                    if engine == "ray":
                        from agents.tuning_ray import run_study_on_ray

                        run_study_on_ray(
                            study,
                            settings,
                            trials=wanted,
                            workers=workers,
                            seed=seed,
                            address=address,
                            on_trial=on_trial,
                        )
                    else:
                        from agents.tuning_workers import run_study

                        run_study(study, settings, out, trials=wanted, workers=workers, seed=seed, on_trial=on_trial)
            finally:
                best = write_results(study, settings, out)
            _print_results(study, best)
        typer.echo(f"watch: optuna-dashboard sqlite:///{out / STUDY_FILE}")


def _teller(study: "optuna.Study", show: Callable[[int], None]) -> "Callable[[FrozenTrial], None]":
    """Return what tells of each finished trial, on a terminal only."""
    from agents.tuning import finished_trials

    def tell(trial: "FrozenTrial") -> None:
        show(len(finished_trials(study)))
        if sys.stderr.isatty():
            value = f" {trial.values[0]:.4f}" if trial.values else ""
            typer.echo(f"trial {trial.number}: {trial.state.name.lower()}{value}", err=True)

    return tell


def _print_results(study: "optuna.Study", best: "FrozenTrial | None") -> None:
    import optuna

    if best is None:
        typer.echo("no trial completed")
        return
    typer.echo(f"best: trial {best.number}, {best.values[0]:.4f} of reference on validation")
    for name, value in best.params.items():
        typer.echo(f"  {name}: {value}")
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) >= _RANKED_FROM:
        shares = optuna.importance.get_param_importances(study)
        typer.echo("importance: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()))


if __name__ == "__main__":
    typer.run(tune)
