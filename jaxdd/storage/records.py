"""Small JSON files that a later run reads back:
each carries a checksum of its content and fits a schema.

A changed digit is a changed checksum, a file of another kind does not fit the schema. What cannot
be believed is named and set aside, never used and never deleted.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema

from jaxdd import hosts
from jaxdd.storage.atomic import write_whole
from jaxdd.storage.fingerprint import fingerprint, plain

Schema = dict[str, Any]  # JSON Schema

CHECKSUM = 'checksum'
TEXT: Schema = {'type': 'string'}
COUNT: Schema = {'type': 'integer', 'minimum': 0}
AMOUNT: Schema = {'type': 'number', 'minimum': 0}
FRACTION: Schema = {'type': 'number', 'minimum': 0, 'maximum': 1}
ANYTHING: Schema = {}


class Damaged(ValueError):
    """A file whose content cannot be believed."""


def listing(entries: Schema, *, least: int = 0) -> Schema:
    """The schema of a list of at least `least` entries."""
    return {'type': 'array', 'items': entries, 'minItems': least}


def mapping(values: Schema) -> Schema:
    """The schema of a mapping from any names to values of one kind."""
    return {'type': 'object', 'additionalProperties': values}


def fields(optional: Mapping[str, Schema] = {}, /, **required: Schema) -> Schema:
    """The schema of a record: exactly the required fields, and any of the optional ones."""
    return {
        'type': 'object',
        'properties': {**optional, **required},
        'required': list(required),
        'additionalProperties': False,
    }


def or_none(schema: Schema) -> Schema:
    """The schema of a value that may be missing."""
    return {'anyOf': [schema, {'type': 'null'}]}


ACCURACY = fields(mean=FRACTION, std=FRACTION, per_seed=listing(FRACTION, least=1))


def save(path: str | os.PathLike, content: Mapping[str, Any]) -> None:
    """Writes a record with the checksum of its content, whole or not at all.

    Args:
        path: the file; parents are made.
        content: mappings with text keys, sequences, NamedTuples (which become mappings), numbers,
            NumPy and JAX arrays, text, None.

    Raises:
        ValueError: a number is not finite, or something is not JSON; names where.
        OSError: the disk refused; an older file is untouched.
    """
    write_whole(path, sealed(content, indent=2).encode())


def sealed(content: Mapping[str, Any], *, indent: int | None = None) -> str:
    """The content as JSON text with its checksum, and a line break."""
    content = plain(_simple(content), 'results')
    return json.dumps({**content, CHECKSUM: fingerprint(content)}, indent=indent) + '\n'


def opened(text: str, schema: Schema) -> dict[str, Any]:
    """The content of what `sealed` made.

    Raises:
        Damaged: no JSON object, no checksum, another checksum, or a content that does not fit the
            schema.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f'it is no JSON: {error}') from error
    if not isinstance(content, dict) or CHECKSUM not in content:
        raise Damaged('it carries no checksum')
    stated = content.pop(CHECKSUM)
    try:
        found = fingerprint(content)
    except ValueError as error:
        raise Damaged(str(error)) from error
    if stated != found:
        raise Damaged(f'its checksum says {stated}, its content {found}')
    require_fits(content, schema)
    return content


def load(path: str | os.PathLike, schema: Schema) -> dict[str, Any] | None:
    """Reads what `save` wrote; None where there is no such file.

    Of several processes the first one reads.

    Args:
        schema: what the content must look like, as JSON Schema (see `fields`, `mapping`,
            `listing`).

    Raises:
        Damaged: names the file and what is wrong with it.
    """
    return hosts.told(lambda: _load(pathlib.Path(path), schema))


def _load(path: pathlib.Path, schema: Schema) -> dict[str, Any] | None:
    try:
        return opened(path.read_text(), schema)
    except FileNotFoundError:
        return None
    except (Damaged, OSError, UnicodeDecodeError) as error:
        raise Damaged(f'{path} is damaged or no record of this program: {error}') from error


def recall(
    path: str | os.PathLike, schema: Schema, *, warn: Callable[[str], None] = print
) -> dict[str, Any] | None:
    """Reads what `save` wrote; a file that cannot be believed is set aside as if it were not there.

    Args:
        path, schema: as in `load`.
        warn: told one sentence: which file, what is wrong, where it went.

    Returns:
        The content; None where there is none to be believed.
    """

    def read() -> dict[str, Any] | None:
        try:
            return load(path, schema)
        except Damaged as error:
            warn(f'{error}; {set_aside(path)}, and what it held is made again')
            return None

    return hosts.told(read)


def require_fits(content: Any, schema: Schema, *within: str) -> None:
    """Refuses what does not look like its schema.

    Args:
        within: names of what holds the content, outermost first, for the message.

    Raises:
        Damaged: names the first place that does not fit, and why.
    """
    for error in jsonschema.Draft202012Validator(schema).iter_errors(content):
        where = '.'.join(map(str, (*within, *error.absolute_path))) or 'the content'
        raise Damaged(f'{where}: {error.message[:200]}')


def set_aside(path: str | os.PathLike) -> str:
    """Renames a file or folder to `<name>.damaged`; says so."""
    return hosts.told(lambda: _set_aside(pathlib.Path(path)))


def _set_aside(path: pathlib.Path) -> str:
    if not path.exists():
        return 'it is not there'
    target = path.with_name(f'{path.name}.damaged')
    if target.is_dir():  # nothing takes the place of a folder that holds something
        shutil.rmtree(target)
    os.replace(path, target)
    return f'it was renamed to {target.name}'


def _simple(value: Any) -> Any:
    """Records as mappings, arrays as numbers and lists."""
    if hasattr(value, '_asdict'):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _simple(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_simple(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, 'tolist') else value
