"""Long jobs in processes of their own, some at a time; stopped together, each ends as an interrupted one does."""

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import TypeVar

Item = TypeVar("Item")
_FAILED = 1


def in_processes(work: Callable[[Item], None], items: Sequence[Item], *, jobs: int) -> Iterator[tuple[int, bool]]:
    """Run ``work`` on every item; yield position and whether it succeeded, as they come.

    A job that fails says why on standard error, in one line; the others go on. If the caller is interrupted or leaves
    the iteration, running jobs get a KeyboardInterrupt and are waited for.

    Args:
        work: A function of a module, so that another process can find it; what it makes is on disk.
        items: What can be pickled.
        jobs: Processes at a time, 1 or more.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(list(enumerate(items))))
    running: dict[int, BaseProcess] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                position, item = waiting.pop()
                running[position] = context.Process(target=_run, args=(work, item))
                running[position].start()
            wait([process.sentinel for process in running.values()])
            for position in [position for position, process in running.items() if not process.is_alive()]:
                yield position, running.pop(position).exitcode == 0
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _run(work: Callable[[Item], None], item: Item) -> None:
    """Do one job in its process; only its parent interrupts it, so that it is interrupted once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupt_on_termination()
    try:
        work(item)
    except KeyboardInterrupt:
        sys.exit(_FAILED)
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(_FAILED)


def interrupt_on_termination() -> None:
    """Let SIGTERM end this process as control-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
