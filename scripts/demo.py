"""The whole job on one page: calibrate, train, export, compare, ask the service; resumes where it was stopped."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from scripts.command import DEFAULT_BUNDLE, ConfigOption, SetOption, clear_errors, load_config, progress_bar

ROOT = Path(__file__).resolve().parent.parent


class DemoSettings(BaseModel):
    """Budgets of the demonstration; the rest is ``configs/train/demo.yaml``.

    Attributes:
        trials: Optuna trials per rule, from the shipped rules.
        calibration_windows: Fleets per trial.
        markets: Market seeds of the comparison.
        test_days: Days of each generated test scenario (without a trace).
        train: Training configuration file.
        bundle: Agent that training goes on from; None starts at the best rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(10, ge=1)
    calibration_windows: int = Field(96, ge=1)
    markets: int = Field(3, ge=1)
    test_days: int = Field(5, ge=1)
    train: Path = ROOT / "configs" / "train" / "demo.yaml"
    bundle: Path | None = DEFAULT_BUNDLE


def demo(
    out: Annotated[Path, typer.Option(help="Folder of everything the demonstration writes.")] = Path("runs/demo"),
    trace: Annotated[Path | None, typer.Option(help="Demand trace; the built-in workload models if absent.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the agent.")] = 0,
) -> None:
    """Train on the trace's first part, report on its last, and ask the service for one recommendation."""
    with clear_errors("demo"):
        settings = load_config(DemoSettings, config, set_)
        started = time.monotonic()
        if trace is not None:
            _check_trace(trace)
        _start_over_if_changed(out, settings, trace, seed)
        rules = _step(out, "calibrating the rules", out / "rules.yaml", lambda path: _calibrate(settings, trace, path))
        bundle = _step(
            out, "training PPO", out / "bundle", lambda path: _train(settings, trace, rules, out / "run", path, seed)
        )
        report = _step(
            out,
            "comparing",
            out / "report" / "report.json",
            lambda path: _compare(settings, trace, bundle, path.parent),
        )
        recommendation = _ask_service(bundle)
        _print_results(out, report.parent, recommendation, time.monotonic() - started)


def _refuse(message: str) -> None:
    raise ValueError(message)


def _check_trace(trace: Path) -> None:
    """Read the trace and cut its scored part before anything is cleared or trained; print what was repaired."""
    from agents.evaluation.worlds import load_scenarios
    from envs.settings import TaskSettings

    if not trace.is_file():
        raise ValueError(f"{trace}: no such file")
    load_scenarios([trace], TaskSettings(), on_broken=_refuse, say=typer.echo)


def _start_over_if_changed(out: Path, settings: DemoSettings, trace: Path | None, seed: int) -> None:
    """Clear the folder unless it was begun with the same configuration and trace."""
    from agents.experiment import TrainSettings
    from telemetry.provenance import write_json

    identity: dict[str, Any] = {
        "settings": settings.model_dump(mode="json", exclude={"train", "bundle"}),
        "train": load_config(TrainSettings, settings.train, None).model_dump(mode="json"),
        "bundle": None if settings.bundle is None else _sha256(settings.bundle / "manifest.json"),
        "trace": None,
        "seed": seed,
    }
    if trace is not None:
        identity["trace"] = {"name": trace.name, "sha256": _sha256(trace)}
    marker = out / "demo.json"
    if marker.exists() and json.loads(marker.read_text()) == identity:
        return
    if out.exists():
        if any(out.iterdir()) and not marker.exists():
            raise ValueError(f"{out} holds something that is not a demonstration; give another --out")
        shutil.rmtree(out)
    write_json(marker, identity)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _step(out: Path, title: str, result: Path, make: Callable[[Path], None]) -> Path:
    if result.exists():
        typer.echo(f"{title}: already there ({result})")
        return result
    typer.echo(f"{title} ...")
    started = time.monotonic()
    make(result)
    typer.echo(f"{title}: {time.monotonic() - started:.0f} s")
    return result


def _train_settings(settings: DemoSettings, trace: Path | None, out: Path) -> Any:
    """Return the demonstration's training configuration, with the trace and a workload model fitted to it."""
    from agents.evaluation.worlds import fit_training_part
    from agents.experiment import TrainSettings

    train = load_config(TrainSettings, settings.train, None).model_copy(update={"start_from": settings.bundle})
    if trace is None:
        return train
    model = out / f"{trace.stem}-fitted.json"
    if not model.exists():
        fit_training_part(trace, model)
    source = train.env.source.model_copy(
        update={"traces": (str(trace),), "models": (*train.env.source.models, str(model))}
    )
    return train.model_copy(update={"env": train.env.model_copy(update={"source": source})})


def _calibrate(settings: DemoSettings, trace: Path | None, path: Path) -> None:
    from agents.calibration import calibrate
    from agents.ground import GroundSettings, pooled_ground
    from agents.rules import RULES_FILE, load_rules, save_rules

    train = _train_settings(settings, trace, path.parent)
    ground = GroundSettings(task=train.env.task, source=train.env.source, windows=settings.calibration_windows)
    book = load_rules(RULES_FILE)
    done = [0]
    with progress_bar("calibrating", settings.trials * len(book.rules)) as show:

        def advance() -> None:
            done[0] += 1
            show(done[0])

        book = calibrate(book, pooled_ground(ground), trials=settings.trials, on_trial=advance)
    save_rules(book, path)


def _train(settings: DemoSettings, trace: Path | None, rules: Path, run: Path, bundle: Path, seed: int) -> None:
    from agents.experiment import export_run, run_training

    train = _train_settings(settings, trace, rules.parent).model_copy(update={"rules": rules})
    resume = (run / "state.json").exists()
    with progress_bar("training", train.ppo.n_timesteps) as show:
        run_training(train, run, seed=seed, resume=resume, show=show)
    export_run(run, bundle)


def _compare(settings: DemoSettings, trace: Path | None, bundle: Path, report: Path) -> None:
    from agents.bundle import load_bundle
    from agents.evaluation.scoring import bundle_lineup, score
    from agents.evaluation.worlds import generated_test_scenarios, load_scenarios, validation_worlds, worlds_for_test

    loaded = load_bundle(bundle)
    train = _train_settings(settings, trace, bundle.parent)
    if trace is None:
        scenarios = generated_test_scenarios(loaded.task, train.env.source.models, days=settings.test_days)
    else:
        scenarios = load_scenarios([trace], loaded.task, on_broken=_refuse)
    content = score(
        bundle_lineup(loaded),
        worlds_for_test(scenarios, loaded.task, markets=settings.markets),
        validation_worlds(loaded.task, train.env.source),
        report,
        say=lambda line: typer.echo(f"  playing {line}"),
    )
    if content["partial"]:
        (report / "report.json").unlink()
        raise KeyboardInterrupt


def _ask_service(bundle: Path) -> dict[str, Any]:
    """Start the service, post the documented example, stop it, and return the answer."""
    from advisory.client import ask_example, free_port

    port = free_port()
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--bundle", str(bundle), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return dict(ask_example(port, timeout_s=60.0))
    finally:
        server.terminate()
        server.wait(timeout=10)


def _print_results(out: Path, report: Path, recommendation: dict[str, Any], seconds: float) -> None:
    lines = (report / "report.md").read_text().split("\n## ")[0]
    typer.echo("")
    typer.echo(lines.strip())
    advice = recommendation["recommendation"]
    expected = recommendation["expected"]
    typer.echo("")
    typer.echo(
        f"recommendation for the documented example: {advice['capacity']} x {advice['launch_specification']}, "
        f"{advice['spot_percent']} % spot, policy {advice['scaling_policy']}; "
        f"${expected['hourly_cost_usd']:.3f} an hour against ${expected['current_hourly_cost_usd']:.3f} now"
    )
    typer.echo("")
    typer.echo(f"report       {report / 'report.md'} (and report.json, plots)")
    typer.echo(f"bundle       {out / 'bundle'}")
    typer.echo(f"curves       tensorboard --logdir {out / 'run'}")
    typer.echo(f"service      python scripts/serve.py --bundle {out / 'bundle'} --port 8000")
    typer.echo(f"took {seconds:.0f} s")


if __name__ == "__main__":
    typer.run(demo)
