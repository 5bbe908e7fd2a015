"""Whose a folder of numbered results is: one configuration's, and no other's."""

import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

from jaxdd import hosts
from jaxdd.storage import records
from jaxdd.storage.fingerprint import differences, fingerprint, plain


def claim(directory: str | os.PathLike, config: Mapping[str, Any]) -> None:
    """Makes a folder of numbered results this configuration's.

    Args:
        directory: made if missing.
        config: what must stay the same; kept there as `config.json`.

    Raises:
        ValueError: the folder holds results (numbered folders) of another configuration (listed
            line by line), or `config` is not JSON.
    """
    directory, config = pathlib.Path(directory).resolve(), plain(config, 'config')
    hosts.told(lambda: _claim(directory, config))


def _claim(directory: pathlib.Path, config: Mapping[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / 'config.json'
    if stored_steps(directory):
        stored = _stored_config(path, config)
        if fingerprint(stored) != fingerprint(config):
            raise ValueError(
                '\n  '.join(
                    (
                        (
                            f'{directory} holds checkpoints of a run with another configuration; '
                            'use another workdir or the stored configuration:'
                        ),
                        *differences(stored, config),
                    )
                )
            )
    else:
        records.save(path, config)


def stored_steps(directory: pathlib.Path) -> list[int]:
    """The numbers of the whole results in a folder, in any order; none where there is no folder."""
    children = directory.iterdir() if directory.is_dir() else ()
    return [int(child.name) for child in children if child.name.isdigit()]


def _stored_config(path: pathlib.Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a folder's results are of; where that cannot be read any more,
    every checkpoint still tells its own."""
    stored = records.recall(path, records.ANYTHING, warn=warnings.warn)
    if stored is None and not path.with_name(f'{path.name}.damaged').exists():
        raise ValueError(
            f'{path.parent} holds checkpoints but no config.json, so they may be of another run; '
            'use another workdir'
        )
    if stored is None:
        records.save(path, config)
    return config if stored is None else stored
