"""What every command shares: configuration files and overrides, one clear line for an error, a progress bar."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import yaml
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Model = TypeVar("Model", bound=BaseModel)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML file; only what differs from defaults.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="key=value, dotted keys; repeatable.")]


_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_BUNDLE = _ROOT / "bundles" / "default"
"""The shipped agent."""
_FLOORS = ("telemetry", "forecasting", "simulators", "envs", "agents", "advisory")


def refuse_foreign_packages() -> None:
    """Stop with one clear line if another installed package of the same name hides one of this project's.

    Raises:
        SystemExit: Status 1, with the package and where it was found.
    """
    for name in _FLOORS:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if origin is None or origin.parent.parent != _ROOT:
            raise SystemExit(
                f"the package {name!r} is found at {origin}, not in {_ROOT}: another package of that name hides it; "
                "run FleetGym in an environment of its own"
            )


refuse_foreign_packages()


class UsageError(ValueError):
    """The command was called with something it cannot use."""


def load_config(model: type[Model], config: Path | None, overrides: list[str] | None) -> Model:
    """Return a configuration: defaults, then the file, then the overrides.

    Raises:
        UsageError: Unknown key, wrong value or unreadable file, named.
    """
    content: dict[str, Any] = {}
    if config is not None:
        try:
            content = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"{config}: {error}") from error
        if not isinstance(content, dict):
            raise UsageError(f"{config}: expected keys and values, got {type(content).__name__}")
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override}: expected key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {override}: {value!r} is not a value") from error
        _place(content, key.split("."), parsed, override)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        where = f"{config}: " if config else ""
        raise UsageError(where + _first_problem(model, error)) from error


def _place(content: dict[str, Any], path: list[str], value: Any, override: str) -> None:
    for part in path[:-1]:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise UsageError(f"--set {override}: {part!r} is not a group of keys")
    content[path[-1]] = value


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_fields_at(model, problem["loc"][:-1]))
        return f"unknown key {key!r}; known here: {known}"
    return f"key {key!r}: {problem['msg']} (got {str(problem['input'])[:80]!r})"


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


@contextmanager
def clear_errors(command: str) -> Iterator[None]:
    """Turn an error into one line on standard error: exit 2 for bad input, 1 for failure or interrupt."""
    try:
        yield
    except (ValueError, KeyError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        typer.echo(f"{command}: {message}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        typer.echo(f"{command}: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.echo(f"{command}: interrupted", err=True)
        raise typer.Exit(1) from error


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, nothing elsewhere; yields a function that sets how much is done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
