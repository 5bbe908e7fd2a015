"""What a field's value must be, written on the field: `ipc: Annotated[int, AtLeast(1)]`."""

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from jaxdd.checks import one_of

TINIEST, GREATEST = (float(edge) for edge in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
LARGEST = 2**31 - 1  # what is counted in int32
frozen = dataclasses.dataclass(frozen=True, kw_only=True)  # every record of a configuration


class Rule(NamedTuple):
    """What every value of a field must fulfil."""

    valid: str  # in words, after 'must be'
    holds: Callable[[Any], bool]


class OneOf(NamedTuple):
    """The names that a field may have."""

    valid: tuple[str, ...]


def at_least(least: float) -> Rule:
    """A finite number that is not below another."""
    return Rule(f'at least {least}', lambda value: least <= value < math.inf)


ABOVE_ZERO = Rule('above 0', lambda value: 0 < value < math.inf)
BELOW_ONE = Rule('at least 0 and below 1', lambda value: 0 <= value < 1)
FRACTION = Rule('above 0 and at most 1', lambda value: 0 < value <= 1)
PROBABILITY = Rule('at least 0 and at most 1', lambda value: 0 <= value <= 1)
GIVEN = Rule('given', lambda value: bool(value.strip()))
SEED = Rule('at least 0 and below 2**32', lambda value: 0 <= value < 2**32)
STORABLE = {
    int: Rule(f'at most {LARGEST}', lambda value: value <= LARGEST),
    float: Rule(
        'a number that float32 can hold',
        lambda value: value == 0 or TINIEST <= abs(value) <= GREATEST,
    ),
}

Count = Annotated[int, at_least(1), STORABLE[int]]
Number = Annotated[int, at_least(0), STORABLE[int]]
Seed = Annotated[int, SEED]
Positive = Annotated[float, ABOVE_ZERO, STORABLE[float]]
Amount = Annotated[float, at_least(0), STORABLE[float]]
Momentum = Annotated[float, BELOW_ONE, STORABLE[float]]
Fraction = Annotated[float, FRACTION, STORABLE[float]]
Probability = Annotated[float, PROBABILITY, STORABLE[float]]
Text = Annotated[str, GIVEN]


def choice(*valid: str) -> Any:
    """The type of a field that holds one of a few names; `--help` shows them."""
    return Annotated[str, OneOf(valid), tyro.conf.arg(metavar='{' + ','.join(valid) + '}')]


def choices(*valid: str) -> Any:
    """The type of a field that holds any of a few names."""
    return Annotated[
        tuple[name_of(valid), ...], tyro.conf.arg(metavar='[{' + ','.join(valid) + '} ...]')
    ]


def name_of(valid: Iterable[str]) -> Any:
    """The type of a field that holds one of many names."""
    return Annotated[str, OneOf(tuple(valid))]


def require(record: Any, path: str = '') -> None:
    """Refuses a record whose fields, or those of the records within it, are out of range.

    Raises:
        ValueError: names the field by its path, what was received and what is valid.
    """
    for name, value, rules in leaves(record, path):
        for rule in rules if value is not None else ():
            for one in value if isinstance(value, tuple) else (value,):
                _check(name, one, rule)


def leaves(record: Any, path: str = '') -> Iterator[tuple[str, Any, tuple[Rule | OneOf, ...]]]:
    """(path, value, rules) of every field that is no record itself, in their order."""
    for name, rules in _rules_of(type(record)).items():
        value = getattr(record, name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f'{path}{name}.')
        else:
            yield path + name, value, rules


@functools.cache
def _rules_of(kind: type) -> dict[str, tuple[Rule | OneOf, ...]]:
    """The rules of every field of a record."""
    kinds = typing.get_type_hints(kind, include_extras=True)
    return {field.name: tuple(_rules(kinds[field.name])) for field in dataclasses.fields(kind)}


def _rules(kind: Any) -> Iterator[Rule | OneOf]:
    """The rules in a type: of it, of what it may also be, of what it holds."""
    yield from (
        rule for rule in getattr(kind, '__metadata__', ()) if isinstance(rule, Rule | OneOf)
    )
    for inner in typing.get_args(kind):
        if inner is not Ellipsis and not isinstance(inner, Rule | OneOf):
            yield from _rules(inner)


def _check(name: str, value: Any, rule: Rule | OneOf) -> None:
    if isinstance(rule, OneOf):
        one_of(name, value, rule.valid)
    elif not rule.holds(value):
        shown = repr(value) if isinstance(value, str) else value
        raise ValueError(f'{name} must be {rule.valid}, got {shown}')


def refuse(field: str, value: object, valid: str, wrong: bool) -> None:
    """Refuses a field's value where it is wrong for a reason that no single field shows.

    Raises:
        ValueError: names the field, what is valid and what was received.
    """
    if wrong:
        raise ValueError(f'{field} must be {valid}, got {value}')
