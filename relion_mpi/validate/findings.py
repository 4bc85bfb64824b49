"""Run a check that raises and warns, and keep what it said as lines of a table."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from relion_mpi.core.errors import InputError
from relion_mpi.doctor.table import Line, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Findings:
    """Lines of the table, in the order of the checks."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    @property
    def has_problem(self) -> bool:
        """Whether a run would be refused."""
        return any(line.state is State.PROBLEM for line in self.lines)

    def check(self, topic: str, work: Callable[[], tuple[T, str]]) -> T | None:
        """Do a part of a run's start and note what it complains of.

        Parameters
        ----------
        topic
            First column.
        work
            Returns what later checks need, and one sentence of facts. Its warnings become notes,
            its InputError a problem.

        Returns
        -------
        T or None
            None after a problem.
        """
        with _warnings() as said:
            try:
                result, facts = work()
            except InputError as error:
                complaint, facts = str(error), ""
            else:
                complaint = ""
        if facts:
            self.lines.append(Line(topic, State.OK, facts))
        self.lines += [Line(topic, State.NOTE, *_parted(text)) for text in said]
        if complaint:
            self.lines.append(Line(topic, State.PROBLEM, *_parted(complaint)))
            return None
        return result


def _parted(message: str) -> tuple[str, str]:
    """Part what was found from what to do: messages end in '; do this'."""
    found, semicolon, cure = message.rpartition("; ")
    return (found, cure) if semicolon else (message, "")


class _List(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the package's warnings instead of writing them."""
    logger = logging.getLogger("relion_mpi")
    handler = _List()
    handlers, logger.handlers = logger.handlers, [handler]
    propagate, logger.propagate = logger.propagate, False
    try:
        yield handler.said
    finally:
        logger.handlers, logger.propagate = handlers, propagate
