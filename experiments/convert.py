"""Writes a distilled set in the form of another program, or reads one of those.

    python -m experiments.convert runs/dm/distilled.npz --to mtt --output for-mtt
    python -m experiments.convert res_DM.pt --source dc --dataset cifar10 --space normalised \\
        --output theirs

The second command leaves `theirs/distilled.npz`, which `experiments.evaluate` scores. Files of
others do not say in which space their images are, and it is never guessed: `--space normalised`
(with the constants of the data set), `unit` (pixels in [0, 1]) or `whitened` (ZCA). Mosaics need
`--factor` and `--order`, too. Nothing is written if anything would be lost. What `--to npz`, `hub`,
`tfds` and `quantised-8bit` (-4bit, -2bit) write says all of this itself, and is read without.
"""

import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import tyro

from experiments.configs import base, finished
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
    """What a set of others was distilled from: gives class names and normalisation. Of a set that
    describes itself this, --space and --factor may be left out; given, they must agree with it."""
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
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter('always', UserWarning)
            files = registry.write(
                options.to, artifact, expanded(options.output), decoded=options.decoded
            )
    except (ValueError, OSError) as error:
        print('error: ' + str(error).replace('decoded=True', '--decoded'), file=sys.stderr)
        return 2
    print('\n'.join([described(artifact), *(f'note: {note.message}' for note in notes)]))
    print('\n'.join(_shown(files)))
    return 0


def read(options: Options) -> Artifact:
    """The set of a command line.

    Raises:
        ValueError: a set of others of which something is not said, or what its form refuses.
    """
    path = finished.distilled(options.path) if options.source == 'npz' else options.path
    artifact = registry.read(options.source, expanded(path), _told(options))
    synthetic, about = artifact
    if 'format' in about['info'] or options.dataset is None:
        return artifact
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
    return artifact._replace(about={**about, 'info': {**_origin(options), **about['info'], **info}})


def described(artifact: Artifact) -> str:
    """A sentence about a set."""
    images, labels, rate = artifact.synthetic
    stored = artifact.about.get('stored')
    more = '' if stored is None else ', which are decoded from fewer'
    learned = '' if rate is None else f', learned rate {float(rate):.4g}'
    how = artifact.about['info'].get('quantised')
    coarse = (
        f', of {how["bits"]} bits per value in patches of {how["patch"]} x {how["patch"]}'
        if how
        else ''
    )
    kind = artifact.about['info'].get('labels', {}).get('kind', 'unnamed')
    classes, count, *shape = images.shape
    size = 'x'.join(map(str, shape))
    return f'{classes} classes of {count} images of {size}{more}, {kind} labels{learned}{coarse}'


def _told(options: Options) -> Told | None:
    """What a file does not say itself, from the command line and the data set; None of one that
    describes itself, where nothing is told."""
    own = registry.FORMS[options.source].describes_itself
    if own and (options.dataset, options.space, options.factor) == (None,) * 3:
        return None
    missing = [name for name in ('dataset', 'space') if getattr(options, name) is None]
    if missing:
        words = ' and '.join(f'--{name}' for name in missing)
        raise ValueError(
            f'what is told of a set of the form {options.source} is compared with what it says '
            f'itself: give {words}, too, or nothing'
            if own
            else f'a set of the form {options.source} does not say {" and ".join(missing)}: give '
            f'{words}'
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
        {} if own else _origin(options),
    )


def _origin(options: Options) -> dict[str, Any]:
    """Where a set of others comes from."""
    return {
        'config': {'dataset': options.dataset, 'data': {'data_dir': options.data_dir}},
        'source': pathlib.Path(options.path).name,
        'experiment': options.experiment,
    }


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
