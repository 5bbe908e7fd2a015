"""A configuration's fields by dotted name."""

import dataclasses
import typing


def leaves(record, path=''):
    """(dotted name, type) of every field, once per type that it may have."""
    kinds = typing.get_type_hints(type(record))
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f'{path}{field.name}.')
        else:
            for kind in typing.get_args(kinds[field.name]) or (kinds[field.name],):
                yield path + field.name, kind


def replaced(record, path, value):
    """The configuration with another value of one field."""
    first, _, rest = path.partition('.')
    return dataclasses.replace(
        record, **{first: replaced(getattr(record, first), rest, value) if rest else value}
    )
