"""What Orbax says of its own accord is said once."""

import types

from jaxdd.storage import packed


def test_of_what_python_cannot_raise_only_closed_event_loops_are_left_out():
    told, one = [], types.SimpleNamespace
    hook = packed._without_closed_loops(told.append)
    others = [
        one(exc_value=RuntimeError('else')),
        one(exc_value=ValueError('Event loop is closed')),
    ]
    for unraisable in (one(exc_value=RuntimeError('Event loop is closed')), *others):
        hook(unraisable)
    assert told == others
