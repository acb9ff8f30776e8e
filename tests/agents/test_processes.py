"""Jobs in processes of their own: all are done, a failing one says why, and stopping them stops them properly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.processes import in_processes

ROOT = Path(__file__).resolve().parents[2]


def note(path: Path) -> None:
    """Leave a file; a file named 'bad' is refused."""
    if path.name == "bad":
        raise ValueError(f"{path.name}: not\nthis one")
    path.write_text(str(os.getpid()))


def wait_for_control_c(path: Path) -> None:
    """Say that it runs, then wait; interrupted, say so."""
    path.write_text("running")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        path.write_text("kept")
        raise


def test_every_item_is_done_in_a_process_of_its_own(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    assert sorted(in_processes(note, paths, jobs=2)) == [(0, True), (1, True), (2, True)]
    owners = {path.read_text() for path in paths}
    assert len(owners) == 3
    assert str(os.getpid()) not in owners


def test_one_that_fails_says_why_and_the_others_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = dict(in_processes(note, [tmp_path / "bad", tmp_path / "good"], jobs=1))
    assert found == {0: False, 1: True}
    assert capfd.readouterr().err == "ValueError: bad: not this one\n"


def test_leaving_the_loop_interrupts_what_runs_and_begins_nothing_new(tmp_path: Path) -> None:
    quick, slow, never = (tmp_path / name for name in ("quick", "slow", "never"))
    for _ in in_processes(_either, [quick, slow, never], jobs=2):
        while not slow.exists():
            time.sleep(0.05)
        break
    assert slow.read_text() == "kept"
    assert not never.exists()


def _either(path: Path) -> None:
    (note if path.name == "quick" else wait_for_control_c)(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_program_lets_its_jobs_keep_what_they_have(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import signal, sys; from pathlib import Path\n"
        "from agents.processes import in_processes, interrupt_on_termination\n"
        "from test_processes import wait_for_control_c\n"
        "interrupt_on_termination()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it\n"
        "try: list(in_processes(wait_for_control_c, [Path(item) for item in sys.argv[1:]], jobs=2))\n"
        "except KeyboardInterrupt: sys.exit(7)\n"
    )
    paths = [tmp_path / name for name in ("a", "b", "c")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent)))}
    child = subprocess.Popen([sys.executable, "-c", program, *map(str, paths)], env=environment)
    deadline = time.monotonic() + 600
    while not all(path.exists() for path in paths[:2]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(number)
    assert child.wait(timeout=600) == 7
    assert [path.exists() and path.read_text() for path in paths] == ["kept", "kept", False]
