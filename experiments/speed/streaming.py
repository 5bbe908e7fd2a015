"""Measures how fast images come from JPEG files, and how long a training step waits for them.

Command:   python -m experiments.speed.streaming --folder DIR --classes 1000 --per-class 20 \
               --image-size 224 --batch-size 256 --network resnet18_bn --width 64 \
               --workers 4 8 16

It makes up a JPEG folder (once: the next run with the same numbers reads it again) and prints three
tables, images per second each: decoding and cropping on the host by number of threads; the whole
way to the devices without training; and a training step fed from memory against the same step fed
by the stream. The last one says which share of the time the step waited. The defaults take a minute
on two cores.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import jax

from jaxdd import data, models, optimizers, parallel
from jaxdd.engine import fit, loop
from jaxdd.losses import soft_cross_entropy
from jaxdd.storage import records
from jaxdd.types import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the folder, measures, prints, and writes `--json`.

    Args:
        arguments: the command line; None is that of the process.

    Returns:
        The exit status: 0, or 2 with one line on stderr where the options make no sense.
    """
    options = _parser().parse_args(arguments)
    try:
        result = measure(options)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print('\n'.join(table(result)))
    if options.json:
        records.save(options.json, result)
    return 0


def measure(options: argparse.Namespace) -> dict:
    """Everything the command measures, as plain JSON data;
    images per second unless the name says otherwise."""
    dataset = data.load(_folder(options), image_size=options.image_size, lazy=True)
    source, spec = dataset.train, dataset.spec._replace(flip=True)
    files = source.images.files
    if options.batch_size > len(files):
        raise ValueError(
            f'--batch-size must be at most the {len(files)} training images, got '
            f'{options.batch_size}'
        )
    result = {
        'options': vars(options),
        'hardware': parallel.hardware(),
        'images': len(files),
        'kilobytes_per_file': sum(
            (pathlib.Path(source.images.root) / f).stat().st_size for f in files
        )
        / len(files)
        / 1000,
        'decode': {},
    }
    key, many = jax.random.key(0), {'batch_size': options.batch_size, 'crop': 'resized'}
    for workers in options.workers:
        batches = data.host_batches(key, 0, source, spec, workers=workers, **many)
        result['decode'][str(workers)] = _rate(batches, options)
    best = max(options.workers, key=lambda workers: result['decode'][str(workers)])
    with parallel.use(parallel.mesh()):
        stream = data.epochs_stream(source, spec, workers=best, **many)
        result |= {
            'workers': best,
            'to_devices': _rate(stream.start(key, 0), options),
            **_training(stream, key, spec, options),
        }
    return result


def table(result: dict) -> list[str]:
    """What `measure` found, in lines to print."""
    ms, size = result['milliseconds_per_step'], result['options']['batch_size']
    bound = 'the feed (decoding)' if result['waiting'] > 0.1 else 'the training step'
    return [
        (
            f'{result["images"]} images, {result["kilobytes_per_file"]:.0f} kB per file, batches '
            f'of {size}, on {result["hardware"]}'
        ),
        '',
        'images/s',
        *(
            f'{rate:10.1f}  decoded and cropped, {workers} threads'
            for workers, rate in result['decode'].items()
        ),
        (
            f'{result["to_devices"]:10.1f}  decoded, cropped, on the devices, {result["workers"]} '
            'threads, no training'
        ),
        *(
            f'{size / value * 1000:10.1f}  training fed from {name} ({value:.1f} ms per step)'
            for name, value in ms.items()
        ),
        '',
        (
            f'{result["waiting"]:.0%} of a step fed by the stream is waiting for it; {bound} sets '
            'the pace.'
        ),
    ]


def _training(stream, key: jax.Array, spec: data.Spec, options: argparse.Namespace) -> dict:
    """Milliseconds per training step with one batch in memory and with the stream,
    and the share spent waiting."""
    model = models.by_name(
        options.network,
        spec.image_shape,
        spec.num_classes,
        width=options.width,
        batch_statistics=True,
        dtype=options.dtype,
    )
    recipe = Recipe(
        optimizers.sgd(0.01, momentum=0.9), options.batches, options.batch_size, soft_cross_entropy
    )
    step = fit.make_fit_step(model, recipe)
    one = next(stream.start(key, 0))
    found, waiting = {}, 0.0
    for name, feed in (('memory', itertools.repeat(one)), ('stream', stream.start(key, 0))):
        state = parallel.replicate(fit.init_fit(key, model, recipe))
        for at in range(options.warm_up + options.batches):
            if at == options.warm_up:
                began, waiting = time.perf_counter(), 0.0
            asked = time.perf_counter()
            batch = next(feed)
            waiting += time.perf_counter() - asked
            state, metrics = loop.advance_with(step, state, batch)
            jax.block_until_ready(metrics)
        total = time.perf_counter() - began
        found[name] = 1000 * total / options.batches
    return {'milliseconds_per_step': found, 'waiting': waiting / total}


def _rate(batches: Iterator, options: argparse.Namespace) -> float:
    """Images per second of a feed, the first batches not counted."""
    for _ in range(options.warm_up):
        jax.block_until_ready(next(batches))
    began = time.perf_counter()
    for _ in range(options.batches):
        jax.block_until_ready(next(batches))
    return options.batches * options.batch_size / (time.perf_counter() - began)


def _folder(options: argparse.Namespace) -> pathlib.Path:
    height, width = options.side
    root = pathlib.Path(
        options.folder or pathlib.Path(tempfile.gettempdir()) / 'jaxdd-streaming'
    ).expanduser()
    path = root / f'{options.classes}x{options.per_class}-{height}x{width}'
    if not path.is_dir():
        began, unfinished = time.perf_counter(), path.with_name(f'{path.name}.unfinished')
        data.write_jpeg_folder(
            unfinished,
            num_classes=options.classes,
            per_class=options.per_class,
            side=(height, width),
            test_per_class=1,
        )
        unfinished.rename(path)
        print(f'wrote {path} in {time.perf_counter() - began:.0f} s', flush=True)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m experiments.speed.streaming',
        description=__doc__.partition('\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--folder', help='where to make up the files; None is a temporary folder')
    parser.add_argument('--classes', type=int, default=10)
    parser.add_argument('--per-class', type=int, default=32)
    parser.add_argument(
        '--side',
        type=int,
        nargs=2,
        default=(375, 500),
        help='height and width of the files, pixels',
    )
    parser.add_argument(
        '--image-size', type=int, default=32, help='side that the network sees, pixels'
    )
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--batches', type=int, default=6, help='measured per line of the tables')
    parser.add_argument('--warm-up', type=int, default=2, help='batches before each measurement')
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[1, 2], help='numbers of decoding threads to try'
    )
    parser.add_argument('--network', default='resnet18_bn')
    parser.add_argument(
        '--width', type=int, default=4, help='channels of its first stage; 64 is a ResNet-18'
    )
    parser.add_argument('--dtype', default=None, help="of the network's body, e.g. bfloat16")
    parser.add_argument('--json', help='also write what was measured to this file')
    return parser


if __name__ == '__main__':
    sys.exit(main())
