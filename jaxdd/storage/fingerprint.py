"""When two configurations are the same:
canonical JSON, its fingerprint, and where two of them differ."""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple


class Store(NamedTuple):
    """A folder, and everything that determines what is kept there."""

    folder: pathlib.Path
    identity: Mapping[str, Any]  # JSON-able; a folder of another identity is refused or left alone

    def named(self) -> pathlib.Path:
        """The folder of this identity, where `folder` holds those of several."""
        return self.folder / fingerprint(dict(self.identity))


def fingerprint(config: Any) -> str:
    """Short name of a configuration: equal exactly when the canonical JSON is equal.

    Args:
        config: text, finite numbers, booleans, None, lists and mappings with text keys, nested
            freely.

    Returns:
        12 hexadecimal characters of the SHA-256. Tuples count as lists; 1 and 1.0 differ.

    Raises:
        ValueError: something in it is not JSON; names where.
    """
    text = json.dumps(plain(config, 'config'), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(stored: Any, current: Any) -> list[str]:
    """Lists where two configurations differ, one line each.

    Args:
        stored, current: configurations as `fingerprint` takes them. Lists are compared whole.

    Returns:
        Lines like `'optimizer.learning_rate: stored 1.0, now 0.5'`; empty exactly when fingerprints
        agree.
    """
    return [
        f'{path}: stored {old}, now {new}' for path, (old, new) in changes(stored, current).items()
    ]


def changes(stored: Any, current: Any) -> dict[str, tuple[str, str]]:
    """Where two configurations differ:
    dotted path -> (stored, current) as JSON text, 'nothing' where one has none."""
    old, new = _flat(plain(stored, 'stored')), _flat(plain(current, 'current'))
    return {
        path: (old.get(path, 'nothing'), new.get(path, 'nothing'))
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    }


def plain(value: Any, where: str) -> Any:
    """The value as plain JSON data: mappings become dicts, tuples lists.

    Args:
        value: what `fingerprint` takes.
        where: what it is called, for the message.

    Raises:
        ValueError: something in it is not JSON; names where.
    """
    if isinstance(value, Mapping):
        if other := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f'{where}: keys must be text to be stored as JSON, got {other[0]!r}')
        return {key: plain(entry, f'{where}.{key}') for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry, f'{where}[{i}]') for i, entry in enumerate(value)]
    if (
        value is None
        or isinstance(value, str)
        or isinstance(value, (int, float))
        and math.isfinite(value)
    ):
        return value
    raise ValueError(
        f'{where}: cannot be stored as JSON: {value!r}; '
        'use text, finite numbers, booleans, None, lists and mappings'
    )


def _flat(value: Any, path: str = '') -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        return {path: json.dumps(value, sort_keys=True)}
    return {
        leaf: entry
        for key, inner in value.items()
        for leaf, entry in _flat(inner, f'{path}.{key}' if path else key).items()
    }
