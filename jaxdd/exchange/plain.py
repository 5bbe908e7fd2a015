"""Our own form: one npz file, as `jaxdd.storage.distilled_set` keeps it."""

import pathlib
from collections.abc import Mapping

from jaxdd.exchange import recipes
from jaxdd.exchange.forms import HOLDABLE, Artifact, Decode, Form, Told
from jaxdd.storage import distilled_set

FILE = 'distilled.npz'


def write(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Writes `distilled.npz`, beside whatever else the folder holds.

    Raises:
        ValueError: what `distilled_set.check` refuses.
    """
    path, about = folder / FILE, dict(artifact.about)
    about.pop('images_uint8', None)  # is computed of the images
    distilled_set.save_npz(path, artifact.synthetic, **about)
    return (path,)


def read(path: pathlib.Path, told: Told | None) -> Artifact:
    """Reads an npz file, bitwise as it was written.

    Args:
        path: the file, or a folder with `distilled.npz`.
        told: what the file says itself. Its images are normalised or whitened; the space of sets
            that are stored as mosaics is that of the mosaics, where the file says how they are cut.
            None: nothing is told.

    Raises:
        ValueError: what `distilled_set.load_npz` refuses, or a file that says otherwise.
    """
    path = path / FILE if path.is_dir() else path
    artifact = Artifact(*distilled_set.load_npz(path))
    return recipes.confirmed(artifact, _decode(artifact), told, path)


def _decode(artifact: Artifact) -> Decode | None:
    said = artifact.about['info'].get('decode')
    fits = isinstance(said, Mapping) and {*said, 'form'} == {*Decode._fields}
    return Decode(**said) if fits and 'stored' in artifact.about else None


NPZ = Form(write, read, frozenset(HOLDABLE), describes_itself=True)
