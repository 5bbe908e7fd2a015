"""What several processes decide alike: the first one looks and tells, or all say what they have."""

import contextlib
import itertools
import os
import pathlib
import pickle
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from jax._src import distributed

T = TypeVar('T')
_LOOK = 10_000  # milliseconds that one question waits; it is asked again
_number = itertools.count()
_asking = False  # inside `told`, where nobody else takes part


def first() -> bool:
    """Whether this is the first of the processes that compute together, which writes for all."""
    return index() == 0


def index() -> int:
    """The number of this process, from 0."""
    return distributed.global_state.process_id


def count() -> int:
    """How many processes compute together."""
    return distributed.global_state.num_processes or 1


def client() -> Any:
    """The connection to the others: a store of texts by name, and barriers."""
    return distributed.global_state.client


def told(ask: Callable[[], T]) -> T:
    """What the first process finds; the others wait for it, and it alone calls `ask`.

    Every process must ask the same questions in the same order. A question inside another one is
    the first process's own.

    Args:
        ask: gives something that can be pickled, and small; what it raises is raised in every
            process.
    """
    if count() == 1 or _asking:
        return ask()
    name = f'jaxdd/told/{next(_number)}'
    if first():
        answer = _answered(ask)
        client().key_value_set_bytes(name, _sealed(answer))
    else:
        answer = pickle.loads(_awaited(name))
    value, error = answer
    if error is not None:
        raise error
    return value


def agreed(own: T) -> list[T]:
    """What every process has, in their order; none goes on before all have said it.

    Args:
        own: this process's, small.
    """
    if count() == 1 or _asking:
        return [own]
    name = f'jaxdd/agreed/{next(_number)}'
    client().key_value_set_bytes(f'{name}/{index()}', pickle.dumps(own))
    return [pickle.loads(_awaited(f'{name}/{i}')) for i in range(count())]


def say(what: str, text: str) -> None:
    """Tells the others a text, in place of the one before; nobody waits for it."""
    client().key_value_set(f'jaxdd/{what}/{index()}', text, allow_overwrite=True)


def heard(what: str) -> dict[int, str]:
    """What the processes have said so far, by their number."""
    found = client().key_value_dir_get(f'jaxdd/{what}/')
    return {int(name.rpartition('/')[2]): text for name, text in found}


def require_alike(what: str, own: Any) -> None:
    """Refuses what differs between the processes, in all of them.

    Args:
        what: it is called.
        own: this process's, small.

    Raises:
        ValueError: names a process that differs.
    """
    every = agreed(own)
    other = [i for i, one in enumerate(every) if one != every[0]]
    if other:
        raise ValueError(
            f'{what} must be the same in all {len(every)} processes, but process {other[0]} has '
            f'{every[other[0]]}, process 0 {every[0]}'
        )


def require_shared(folder: str | os.PathLike, option: str, *, patience: float = 20.0) -> None:
    """Refuses a folder that is not the same one on every host, in all processes.

    Args:
        folder: exists everywhere.
        option: the command's option that names it.
        patience: seconds that a network's file system has to show a new file.

    Raises:
        ValueError: names the processes that do not see what process 0 wrote there.
    """
    if count() == 1:
        return
    folder = pathlib.Path(folder)
    token = folder / told(lambda: f'.shared-{secrets.token_hex(8)}')
    try:
        told(lambda: token.write_text(''))
        blind = [i for i, seen in enumerate(agreed(_appears(token, patience))) if not seen]
    finally:
        if first():
            token.unlink(missing_ok=True)
    if blind:
        raise ValueError(
            f'the {option} {folder} must be a folder that all hosts share, but '
            f'{", ".join(f"process {i}" for i in blind)} cannot see what process 0 wrote there; '
            f'give another with --{option.replace("_", "-")}'
        )


def _appears(path: pathlib.Path, patience: float) -> bool:
    end = time.monotonic() + patience
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _answered(ask: Callable[[], T]) -> tuple[T | None, Exception | None]:
    with _alone():
        try:
            return ask(), None
        except Exception as error:
            return None, error


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    global _asking
    _asking = True
    try:
        yield
    finally:
        _asking = False


def _sealed(answer: tuple[Any, Exception | None]) -> bytes:
    """As it travels; an error that cannot, does so as its nearest kind that can."""
    try:
        pickle.loads(sealed := pickle.dumps(answer))
        return sealed
    except Exception:
        kind = OSError if isinstance(answer[1], OSError) else ValueError
        return pickle.dumps((None, kind(str(answer[1]))))


def _awaited(name: str) -> bytes:
    """What another process will have stored; whoever watches ends this one if that cannot be."""
    while True:
        try:
            return client().blocking_key_value_get_bytes(name, _LOOK)
        except jax.errors.JaxRuntimeError as error:
            if 'DEADLINE_EXCEEDED' not in str(error):
                raise
