import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exporting() -> Iterator[None]:
    """Silence what torch's exporter says about its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        yield
    logger.setLevel(level)
