"""What holds for all tests."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """A `main` configures logging for its process, which here is pytest's: nothing of it stays."""
    root = logging.getLogger()
    _forget_handlers()  # of fixtures that outlive a test
    level = root.level
    yield
    _forget_handlers()
    root.setLevel(level)


def _forget_handlers() -> None:
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if type(h).__module__.startswith("_pytest.")]
