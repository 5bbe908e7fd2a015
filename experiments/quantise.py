"""Keeps a distilled set with fewer bits and scores what is left: bytes against accuracy.

    python -m experiments.quantise runs/dm/distilled.npz --bits 2 3 4 6 8 --patch 4 8 \\
        --figure runs/dm/bytes.png

Every setting is quantised, packed, unpacked, and scored by students under the set's own protocol,
beside the set itself (float32) and its 8-bit grey levels. Fewer epochs or other students than the
protocol's are named with it. `experiments.convert --to quantised-4bit` writes such a file.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.configs import presets, scoring
from experiments.configs.base import Evaluation
from experiments.configs.rules import refuse
from experiments.configs.scoring import Given, Options
from experiments.stages import existing, labelling, outputs, scores, students, workplace
from jaxdd import hosts, whitening
from jaxdd.engine.distill import NonFiniteError
from jaxdd.exchange import forms, pictures, quantised, quantised_files, recipes
from jaxdd.exchange.forms import Artifact
from jaxdd.reporting import report, sizes, tables
from jaxdd.storage import distilled_set, records
from jaxdd.storage.atomic import expanded
from jaxdd.types import Accuracy

PROGRAM = 'python -m experiments.quantise'
NETWORK = 'convnet'
FLOAT, GREY = 'float32', 'grey levels'
STOPPED = 3


class Kept(NamedTuple):
    """One way to keep a set."""

    name: str
    bits: int  # per value
    patch: int | None  # pixels; None: one scale for all
    num_bytes: int  # of its images
    make: Callable[[], Artifact]  # what is read again


class Row(NamedTuple):
    """What one way to keep a set costs."""

    name: str
    bits: int
    patch: int | None
    images: int  # bytes
    labels: int  # bytes
    largest: float  # difference of a stored pixel, in grey levels
    mean: float
    accuracy: Accuracy

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.images + self.labels


def main(argv: Sequence[str]) -> int:
    """Runs one command line; exit code 0 done, 2 wrong input or a student that diverged,
    3 stopped."""
    try:
        return run(*parse(argv))
    except (ValueError, NonFiniteError, OSError, jax.errors.JaxRuntimeError) as error:
        return hosts.failed(error)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Options, Given]:
    """The options of this command, those of `experiments.evaluate`, and the set.

    Raises:
        ValueError: what `scoring.parse` refuses, bits or a patch out of range, several students.
        SystemExit: an unknown or malformed option (code 2), or `--help` (0).
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=str(__doc__).partition('\n')[0],
        epilog='and --dataset, --data-dir and --evaluation.* of experiments.evaluate',
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('distilled', help='a distilled.npz, or its workdir')
    add('--bits', type=int, nargs='+', default=[2, 3, 4, 6, 8], help='per value: 2 to 8')
    add('--patch', type=int, nargs='+', default=[8], help='pixels per side of what has one scale')
    add('--decoded', action='store_true', help='quantise the images that mosaics are cut into')
    add('--epochs', type=int, help="E of the protocol; default: the set's own")
    add('--seeds', type=int, help="students per row; default: the set's own")
    add('--figure', help='a png file: accuracy over bytes')
    add('--json', help='the table as a record')
    own, words = parser.parse_known_args(list(argv))
    for bits, patch in settings(own):
        quantised.require_setting(bits, patch)
    told = {'--evaluation.epochs': own.epochs, '--evaluation.num-seeds': own.seeds}
    if not {'--evaluation.networks', '--evaluation.pool'} & set(words):
        told['--evaluation.networks'] = NETWORK
    more = [str(word) for pair in told.items() if pair[1] is not None for word in pair]
    options, given = scoring.parse([own.distilled, *words, *more])
    networks = options.evaluation.networks
    refuse('evaluation.networks', ' '.join(networks), 'one network', len(networks) != 1)
    return own, options, given


def settings(own: argparse.Namespace) -> list[tuple[int, int]]:
    """(bits, patch) of every row, none twice."""
    return [(b, p) for p in dict.fromkeys(own.patch) for b in dict.fromkeys(own.bits)]


def run(own: argparse.Namespace, options: Options, given: Given) -> int:
    """Scores every way to keep the set, and prints, writes and draws what they cost."""
    artifact = Artifact(given.synthetic, given.about)
    artifact = forms.decoded(artifact) if own.decoded else artifact
    _require_quantisable(artifact, *settings(own)[0])
    files = {name: expanded(getattr(own, name) or '') for name in ('figure', 'json')}
    for name in [name for name in files if getattr(own, name)]:
        outputs.require_writable(files[name].parent, name)
    stop = workplace.begun(None, options.hosts, pathlib.Path(options.distilled).parent)
    with workplace.computing(options):
        rows = list(scored(options, given, artifact, settings(own), stop))
    if stop():
        print('stopped')
        return STOPPED
    (student,) = students.labels(options.evaluation, given.synthetic.images.shape[2:]).values()
    said = protocol(options, student)
    beside = whitening_bytes(artifact)
    print(f'\n{said}\n{table(rows, beside)}')
    if own.json:
        records.save(files['json'], record(options, student, rows, beside))
    if own.figure:
        draw(files['figure'], rows, said)
    return 0


def scored(
    options: Options,
    given: Given,
    artifact: Artifact,
    which: Sequence[tuple[int, int]],
    stop: scores.Stop,
) -> Iterator[Row]:
    """Trains and tests students on every version of a set, one after the other."""
    dataset = existing.read(options, given)
    pixels = forms.stored_pixels(artifact)[0]
    for kept in ways(artifact, which):
        if stop():
            return
        made = kept.make()
        shown = given._replace(synthetic=made.synthetic)
        labelled = existing.labelled_sets(options, dataset, shown)['distilled']
        title = f'{kept.name}, {kept.bits} bits' + (f', patch {kept.patch}' if kept.patch else '')
        found = scores.score(options, dataset, labelled, stop, title=title)
        if stop():
            return
        apart = 255 * np.abs(forms.stored_pixels(made)[0] - pixels)
        yield Row(
            *kept[:4],
            label_bytes(options.evaluation, labelled),
            float(apart.max()),
            float(apart.mean()),
            found[options.evaluation.networks[0]],
        )


def ways(artifact: Artifact, which: Sequence[tuple[int, int]]) -> Iterator[Kept]:
    """The set itself, its grey levels, and its images at (bits, patch) each."""
    values = forms.stored(artifact)[0].size
    yield Kept(FLOAT, 32, None, 4 * values, lambda: artifact)
    yield Kept(GREY, 8, None, values, functools.partial(grey, artifact))
    for bits, patch in which:
        arrays = quantised_files.arrays_of(artifact, bits, patch)
        size = sum(arrays[name].nbytes for name in ('codes', 'scale', 'zero'))
        make = functools.partial(quantised_files.restored, arrays)
        yield Kept('quantised', bits, patch, size, make)


def grey(artifact: Artifact) -> Artifact:
    """A set whose stored pixels are rounded to grey levels, and clipped to [0, 1]."""
    how = artifact.about.get('whitening')
    told = recipes.told(recipes.of(artifact))._replace(whitening=how)
    images = pictures.levels(artifact).astype(np.float32) / 255
    if how is not None:
        images = whitening.whiten(how, images)
    elif told.space == 'normalised':
        mean, std = (np.asarray(part, np.float32) for part in (told.mean, told.std))
        images = (images - mean) / std
    found = forms.assemble(images, None, told)
    _, labels, rate = artifact.synthetic
    return found._replace(synthetic=found.synthetic._replace(labels=labels, learning_rate=rate))


def label_bytes(e: Evaluation, labelled: labelling.Labelled) -> int:
    """Bytes of the labels that students are shown, as a run counts them."""
    if e.labels == 'hard':
        return distilled_set.stored_bytes(labelled.synthetic)['labels']
    if e.labels == 'static':
        return labelled.synthetic.labels.size * np.dtype(e.label_dtype).itemsize
    return labelled.label_bytes


def whitening_bytes(artifact: Artifact) -> int:
    """Bytes of what whitens the test images, which every row needs beside its own."""
    return sum(array.nbytes for array in recipes.whitening_fields(artifact).values())


def protocol(options: Options, student: str) -> str:
    """Under which protocol, on what and with how many of which students the numbers hold."""
    e = options.evaluation
    return f'{report.protocol(presets.identified(e))}; {options.dataset}, {e.num_seeds} x {student}'


def table(rows: Sequence[Row], beside: int = 0) -> str:
    """The rows as text, the first of which is what ratios refer to.

    Args:
        beside: bytes of the whitening, which no row counts.
    """
    header = ['kept as', 'bits', 'patch', 'image bytes', 'label bytes', 'in all', 'smaller']
    header += ['largest error', 'mean error', 'accuracy, %']
    cells = [
        [
            row.name,
            str(row.bits),
            str(row.patch or '-'),
            *(f'{count:,}' for count in (row.images, row.labels, row.size)),
            f'{rows[0].size / row.size:.2f}x',
            f'{row.largest:.2f}',
            f'{row.mean:.2f}',
            f'{100 * row.accuracy.mean:.2f} ± {100 * row.accuracy.std:.2f}',
        ]
        for row in rows
    ]
    made = tables.aligned(header, cells, rule=True, numbers=range(1, len(header)))
    note = 'errors of stored pixels, in grey levels; ± is the population std over students'
    if beside:
        note += f'\nno row counts the whitening: {beside:,} bytes, or the training images'
    return f'{made}\n{note}'


def record(options: Options, student: str, rows: Sequence[Row], beside: int = 0) -> dict[str, Any]:
    """The table for `records.save`."""
    return {
        'distilled': options.distilled,
        'dataset': options.dataset,
        'student': student,
        'protocol': presets.identified(options.evaluation),
        'rows': [{**row._asdict(), 'in all': row.size} for row in rows],
        'whitening': beside,
    }


def draw(path: pathlib.Path, rows: Sequence[Row], title: str) -> None:
    """Writes the figure: a line per patch, its points named by their bits."""
    lines: dict[str, list[sizes.Point]] = {}
    marks = {}
    for row in rows:
        if row.patch is None:
            marks[row.name] = sizes.Point(row.size, row.accuracy)
        else:
            name = f'patches of {row.patch} x {row.patch}, by bits'
            point = sizes.Point(row.size, row.accuracy, str(row.bits))
            lines.setdefault(name, []).append(point)
    sizes.sizes_png(path, lines, marks, title=title)


def _require_quantisable(artifact: Artifact, bits: int, patch: int) -> None:
    """Refuses, before anything trains, what cannot be quantised."""
    try:
        quantised_files.arrays_of(artifact, bits, patch)
    except ValueError as error:
        raise ValueError(str(error).replace('decoded=True', '--decoded')) from error


if __name__ == '__main__':
    sys.exit(hosts.together(main, sys.argv[1:]))
