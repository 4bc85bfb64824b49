"""Exceptions that carry a message for a person."""

from __future__ import annotations


class InputError(Exception):
    """What the user gave cannot be used; the message says where, what was found and what to do.

    Printed without a traceback, on one rank, before any work starts; the exit status is 1.
    """


class NumericalError(Exception):
    """A number that must be finite or positive is not; the message names particle or shell."""
