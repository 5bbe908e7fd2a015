"""The page of parity names options that exist, with values that they take."""

import dataclasses
import pathlib
import re
import typing

import pytest

from experiments.configs import plugins, rules
from experiments.methods import METHODS
from experiments.stages import identity

PAGE = pathlib.Path(__file__).parents[1] / 'docs' / 'parity.md'
ROWS = [
    [cell.strip() for cell in row.strip('| ').split('|')]
    for row in PAGE.read_text().splitlines()
    if row.startswith('| ') and not row.startswith(('| ---', '| the authors'))
]
SPANS = [
    span
    for row in ROWS
    for span in re.findall(r'`([^`]+)`', ' '.join(row[1:]))
    if span.startswith('--') and span not in ('--distillation',)
]
SWITCHES = {'matching.no_recompute': 'matching.recompute'}
PRESETS = [entry.published('cifar10', 10, ()) for entry in METHODS.values()]


def rules_of(path):
    """Per method that has the option: its rules, and its value there."""
    path = SWITCHES.get(path, path)
    for config in PRESETS:
        kind, value = type(config), config
        *records, field = path.split('.')
        for record in records:
            if not hasattr(value, record):
                break
            value = getattr(value, record)
            kind = type(value)
        else:
            if dataclasses.is_dataclass(value) and hasattr(value, field):
                yield rules._rules_of(kind)[field], typing.get_type_hints(kind)[field]


def fits(value, found):
    for rule, kind in found:
        numbers = {int, float} & {kind, *typing.get_args(kind)}
        try:
            given = (float if float in numbers else int)(float(value)) if numbers else value
        except ValueError:
            continue
        if all(
            given in one.valid if isinstance(one, rules.OneOf) else one.holds(given) for one in rule
        ):
            return True
    return False


@pytest.mark.parametrize('span', sorted(set(SPANS)))
def test_an_option_exists_and_takes_the_value(span):
    name, *values = span.split()
    found = list(rules_of(name.removeprefix('--').replace('-', '_')))
    assert found, f'no method has {name}'
    for value in values:
        assert fits(value, found), f'{name} does not take {value}'


def test_values_that_stand_alone_are_those_of_the_option_before_them():
    for row in ROWS:
        option = None
        for span in re.findall(r'`([^`]+)`', row[1]):
            if span.startswith('--'):
                option = span.split()[0].removeprefix('--').replace('-', '_')
            elif option and re.fullmatch(r'[a-z0-9_-]+', span) and '.' not in span:
                if not span.startswith('train_net'):
                    assert fits(span, list(rules_of(option))), f'{option} does not take {span}'


def test_every_option_that_came_for_parity_is_on_the_page():
    text = PAGE.read_text()
    names = [f'{record}.{option}' for record, option, _ in identity.LATER]
    names += [f'regularizers.{name}-{o}' for name, p in plugins.PLUGINS.items() for o in p.options]
    missing = [name for name in names if f'--{name.replace("_", "-")}' not in text]
    assert missing == []


def test_every_row_says_what_is_here():
    assert len(ROWS) > 50
    assert all(len(row) in (2, 3) and any(row[1:]) for row in ROWS)
