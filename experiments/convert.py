"""Writes a distilled set in the form of another program, or reads one of those.

    python -m experiments.convert runs/dm/distilled.npz --to mtt --output for-mtt
    python -m experiments.convert res_DM.pt --source dc --dataset cifar10 --space normalised \\
        --output theirs

The second command leaves `theirs/distilled.npz`, which `experiments.evaluate` scores. Files of
others do not say in which space their images are, and it is never guessed: `--space normalised`
(with the constants of the data set), `unit` (pixels in [0, 1]) or `whitened` (ZCA). Mosaics need
`--factor` and `--order`, too. Nothing is written if anything would be lost.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Literal

import tyro

from experiments.configs import base
from experiments.configs.rules import Count, choice
from jaxdd import data, whitening
from jaxdd.exchange import registry
from jaxdd.exchange.forms import Artifact, Decode, Told
from jaxdd.storage import distilled_set
from jaxdd.storage.atomic import expanded

PROGRAM = 'python -m experiments.convert'
FORM = choice(*registry.FORMS)


@base.frozen
class Options:
    """One conversion of one distilled set."""

    path: tyro.conf.Positional[str]
    """A distilled.npz; with --source a file or folder of another program."""
    output: str
    """The folder that is written."""
    to: FORM = 'npz'
    """The form that is written."""
    source: FORM = 'npz'
    """The form that is read."""
    decoded: bool = False
    """Writes mosaics as the images that they are cut into."""
    dataset: str | None = None
    """What a set of others was distilled from: gives class names and normalisation."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    space: choice('normalised', 'unit', 'whitened') | None = None
    """Of the images of others: normalised by their data set's constants, pixels in [0, 1], or
    ZCA-whitened."""
    factor: Count | None = None
    """Of mosaics of others: tiles per side."""
    order: choice('row', 'column') = 'row'
    """Of their tiles: along the rows (IDC) or down the columns (IDM)."""
    experiment: int = 0
    """Which set of a file that holds several (DC's)."""


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input."""
    try:
        options = tyro.cli(Options, args=list(argv), prog=PROGRAM)
        artifact = read(options)
        files = registry.write(
            options.to, artifact, expanded(options.output), decoded=options.decoded
        )
    except (ValueError, OSError) as error:
        print('error: ' + str(error).replace('decoded=True', '--decoded'), file=sys.stderr)
        return 2
    print(described(artifact))
    print('\n'.join(_shown(files)))
    return 0


def read(options: Options) -> Artifact:
    """The set of a command line.

    Raises:
        ValueError: a set of others of which something is not said, or what its form refuses.
    """
    path = expanded(options.path)
    if options.source == 'npz':
        return Artifact(*distilled_set.load_npz(path))
    artifact = registry.read(options.source, path, _told(options))
    synthetic, about = artifact
    info = distilled_set.described(
        synthetic,
        stored=about.get('stored'),
        whitened='whitening' in about,
        dataset={
            'name': str(options.dataset),
            'classes': len(about['class_names']),
            'checksums': None,
            'licence': data.licence(str(options.dataset)),
        },
        decode=about['info'].get('decode'),
    )
    return artifact._replace(about={**about, 'info': {**about['info'], **info}})


def described(artifact: Artifact) -> str:
    """A sentence about a set."""
    images, labels, rate = artifact.synthetic
    stored = artifact.about.get('stored')
    more = '' if stored is None else ', which are decoded from fewer'
    learned = '' if rate is None else f', learned rate {float(rate):.4g}'
    kind = artifact.about['info'].get('labels', {}).get('kind', 'unnamed')
    classes, count, *shape = images.shape
    size = 'x'.join(map(str, shape))
    return f'{classes} classes of {count} images of {size}{more}, {kind} labels{learned}'


def _told(options: Options) -> Told:
    """What the file of another program does not say, from the command line and the data set."""
    missing = [name for name in ('dataset', 'space') if getattr(options, name) is None]
    if missing:
        raise ValueError(
            f'a set of the form {options.source} does not say {" and ".join(missing)}: give '
            f'{" and ".join(f"--{name}" for name in missing)}'
        )
    dataset = data.load(str(options.dataset), data_dir=options.data_dir)
    spec, space = dataset.spec, options.space
    how = whitening.fit(dataset.train.images) if space == 'whitened' else None
    return Told(
        space,  # pyright: ignore
        spec.class_names or tuple(map(str, range(spec.num_classes))),
        spec.mean,
        spec.std,
        _decode(options),
        how,
        {
            'config': {'dataset': options.dataset, 'data': {'data_dir': options.data_dir}},
            'source': pathlib.Path(options.path).name,
            'experiment': options.experiment,
        },
    )


def _decode(options: Options) -> Decode | None:
    if options.factor in (None, 1):
        return None
    order: Literal['row', 'column'] = options.order  # pyright: ignore
    if options.space == 'whitened':
        raise ValueError('mosaics of whitened images cannot be read: no program writes them')
    return Decode(options.factor, order, options.space)  # pyright: ignore


def _shown(files: Sequence[pathlib.Path], most: int = 8) -> list[str]:
    names = [str(file) for file in files[:most]]
    return names + ([f'and {len(files) - most} more'] if len(files) > most else [])


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
