"""A study's trials in processes of this machine: workers train, this process asks, prunes and tells."""

import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial

from agents.tuning import (
    Outcome,
    Parameters,
    TuneSettings,
    finish,
    finished_trials,
    queue_interrupted,
    run_trial,
    with_seed,
)

_SCRATCH: Final = "running"
_CONTEXT: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class _Job:
    parameters: Parameters
    seed: int


class _Worker:
    """A process that trains one trial at a time; it dies with this one."""

    def __init__(self, settings: TuneSettings, scratch: Path) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(theirs, settings, scratch), daemon=True)
        with _interrupts_held_back():
            self.process.start()
        theirs.close()

    def send(self, message: _Job | bool) -> None:
        """Say something; that nobody hears it any more shows when the answer is read."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.connection.close()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Start processes that control-C does not reach: this process ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _serve(connection: Connection, settings: TuneSettings, scratch: Path) -> None:
    def report(step: int, value: float) -> bool:
        connection.send((step, value))
        return bool(connection.recv())

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job: _Job = connection.recv()
            try:
                with TemporaryDirectory(dir=scratch) as folder:
                    ended: Any = run_trial(settings, job.parameters, job.seed, Path(folder), report)
            except Exception as error:
                ended = error
            connection.send(ended)


class _Workers:
    """At most ``count`` workers, started when they are needed."""

    def __init__(self, count: int, settings: TuneSettings, scratch: Path) -> None:
        self._settings, self._scratch = settings, scratch
        self._free = count
        self._idle: list[_Worker] = []
        self.busy: dict[Connection, tuple[_Worker, optuna.Trial]] = {}

    @property
    def available(self) -> bool:
        return self._free > 0

    def begin(self, trial: optuna.Trial, job: _Job) -> None:
        worker = self._idle.pop() if self._idle else _Worker(self._settings, self._scratch)
        self._free -= 1
        self.busy[worker.connection] = (worker, trial)
        worker.send(job)

    def next_message(self, connection: Connection) -> Any:
        """Return what a worker says: (step, value), an Outcome, or an exception that ends the study."""
        worker, _ = self.busy[connection]
        try:
            return connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            return Outcome(error=f"its process ended with exit code {worker.process.exitcode}")

    def release(self, connection: Connection) -> optuna.Trial:
        worker, trial = self.busy.pop(connection)
        self._free += 1
        if worker.process.is_alive():
            self._idle.append(worker)
        else:
            worker.stop()
        return trial

    def stop(self) -> None:
        for worker in (*self._idle, *(worker for worker, _ in self.busy.values())):
            worker.stop()


def run_study(
    study: optuna.Study,
    settings: TuneSettings,
    folder: Path,
    *,
    trials: int,
    workers: int,
    seed: int,
    on_trial: Callable[[FrozenTrial], None] = lambda _: None,
) -> None:
    """Go on with a study until ``trials`` have finished; what is cut short is queued again.

    Args:
        study: An open study.
        settings: Its settings.
        folder: Trials train in a folder of their own below, which is removed.
        trials: Finished trials in all, those of earlier runs included.
        workers: Processes.
        seed: A trial trains with this plus its number.
        on_trial: Called with every trial that has finished.

    Raises:
        ValueError: The base configuration cannot be trained with.
    """
    left = max(0, trials - len(finished_trials(study)))
    space = settings.distributions()
    scratch = folder / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    pool = _Workers(workers, settings, scratch)
    try:
        while left or pool.busy:
            while left and pool.available:
                trial = study.ask(space)
                pool.begin(trial, _Job(trial.params, with_seed(trial, seed)))
                left -= 1
            for connection in wait(list(pool.busy)):
                assert isinstance(connection, Connection)
                message = pool.next_message(connection)
                if isinstance(message, tuple):
                    step, value = message
                    worker, trial = pool.busy[connection]
                    trial.report(value, step)
                    worker.send(trial.should_prune())
                    continue
                trial = pool.release(connection)
                if isinstance(message, Exception):
                    raise message
                on_trial(finish(study, trial, settings, message))
    finally:
        pool.stop()
        queue_interrupted(study)
        shutil.rmtree(scratch, ignore_errors=True)
