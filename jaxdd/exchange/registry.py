"""Every form by its name, and the two acts: write a distilled set as one, read one."""

import pathlib

from jaxdd.checks import one_of
from jaxdd.exchange import (
    folders,
    forms,
    hub,
    plain,
    quantised_files,
    ranking,
    tfds_files,
    torch_files,
)
from jaxdd.exchange.forms import Artifact, Form, Told

FORMS: dict[str, Form] = {
    'npz': plain.NPZ,
    'hub': hub.HUB,
    'tfds': tfds_files.TFDS,
    'dc': torch_files.DC,
    'mtt': torch_files.MTT,
    'datm': torch_files.DATM,
    'idc': torch_files.IDC,
    'ncfm': torch_files.IDC,
    'cim': torch_files.CIM,
    'ddranking': ranking.DDRANKING,
    'imagefolder': folders.IMAGEFOLDER,
    'sre2l': folders.SRE2L,
    'rded': folders.RDED,
    # a scale and a zero point per 8 x 8 pixels are half a bit per value
    'quantised-8bit': quantised_files.form(8, 8),
    'quantised-4bit': quantised_files.form(4, 8),
    'quantised-2bit': quantised_files.form(2, 8),
}


def write(
    name: str, artifact: Artifact, folder: pathlib.Path, *, decoded: bool = False
) -> tuple[pathlib.Path, ...]:
    """Writes a distilled set into a folder, in a form that others read.

    Args:
        name: of the form, a key of `FORMS`.
        decoded: mosaics are written as the images that they are cut into.

    Returns:
        The files.

    Raises:
        ValueError: an unknown form, one that would lose a part of the set, or a package that is
            missing; nothing is written.
    """
    if decoded:
        artifact = forms.decoded(artifact)
    forms.require_holds(name, artifact, FORMS)
    return FORMS[name].write(artifact, folder)


def read(name: str, path: pathlib.Path, told: Told | None) -> Artifact:
    """Reads a distilled set of others, or one of ours in a form for them.

    Args:
        name: of its form, a key of `FORMS`.
        path: a file or folder, as the form has it.
        told: what the file does not say about itself; None where it says everything
            (`Form.describes_itself`).

    Raises:
        ValueError: an unknown form, a package that is missing, or a file that is not of the form,
            contradicts what was told, or says less than it must where nothing was.
    """
    one_of('form', name, FORMS)
    if not path.exists():
        raise ValueError(f'{path} does not exist')
    form = FORMS[name]
    told = told if form.describes_itself else forms.require_told(told, path)
    return form.read(path, told)  # pyright: ignore
