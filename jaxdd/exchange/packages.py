"""Packages that only some forms need."""

import importlib
from typing import Any


def optional(name: str, purpose: str, extra: str = 'exchange') -> Any:
    """Imports a module that may be missing.

    Args:
        name: of the module, e.g. 'pyarrow.parquet'.
        purpose: what it is needed for, the start of the message.
        extra: of this library, with which it is installed.

    Raises:
        ValueError: it is not installed; names the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{purpose} needs the package {name.split('.')[0]}: pip install 'jaxdd[{extra}]'"
        ) from error
