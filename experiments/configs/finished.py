"""What a finished run left, found where a user points to: its workdir, or a file in it."""

import pathlib
from collections.abc import Sequence

from jaxdd.exchange import likeness, registry
from jaxdd.exchange.catalogue import SET
from jaxdd.storage.atomic import expanded

LISTED = 3  # folders that a message names
AGAIN = 'a run writes it when it ends, and the same command again continues it'


def require(workdir: pathlib.Path, names: Sequence[str]) -> None:
    """Refuses a workdir that lacks some of the files of a finished run.

    Raises:
        ValueError: names what is missing, or the folders of the runs that it holds.
    """
    if not workdir.is_dir():
        raise ValueError(f'{workdir} is no folder: give the workdir of a finished run')
    missing = next((name for name in names if not (workdir / name).is_file()), None)
    if missing is None:
        return
    if inside := [str(path.parent) for path in sorted(workdir.glob(f'*/{missing}'))]:
        named = inside[:LISTED] + ['...'] * (len(inside) > LISTED)
        raise ValueError(
            f'{missing} is not in {workdir} but in its folders: give {" ".join(named)}'
        )
    raise ValueError(f'{workdir / missing} is not there; {AGAIN}')


def distilled(path: str) -> str:
    """The file of a distilled set: the path itself, or that of a workdir.

    Raises:
        ValueError: a folder without one, or a set in a form of others; says how it becomes one.
    """
    place = expanded(path)
    found = likeness.of(place)
    if found is not None and 'npz' not in found.forms:
        form = found.forms[0]
        told = '' if registry.FORMS[form].describes_itself else ' --dataset NAME --space SPACE'
        raise ValueError(
            f'{path} looks like a set in the form {" or ".join(found.forms)}: make a {SET} of it '
            f'with python -m experiments.convert {found.path} --source {form}{told} --output FOLDER'
        )
    if place.is_dir():
        require(place, (SET,))
        return str(place / SET)
    return str(place)
