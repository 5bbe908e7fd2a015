"""Proves that a change of the code's structure changes no bit of what runs leave.

    python tests/same_bits.py record FOLDER     before the change
    python tests/same_bits.py compare FOLDER    after every step of it

Every method with no plug-in and with all of them runs 20 steps on the digits and on a made-up set;
the fingerprints of the images, the weights of the plug-ins and the accuracy of one student are
kept. `record` also leaves runs that stand at step 10, and their pools of proxies; `compare` runs
everything anew, and continues copies of those.
"""

import contextlib
import hashlib
import io
import json
import pathlib
import shutil
import sys
from collections.abc import Iterator

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from experiments import run  # noqa: E402
from jaxdd import data  # noqa: E402

METHODS = ('dm', 'dc', 'dsa', 'idm', 'idc', 'sre2l', 'infer')
CHUNKED = ('sre2l', 'infer')  # their schedule ends with the run: they cannot be made longer
PLUGINS = ('', 'cc cm cmi')
STEPS = 20


def cases() -> Iterator[tuple[str, list[str]]]:
    """Name and command line, without paths, of every run."""
    for method in METHODS:
        for plugins in PLUGINS:
            for dataset in ('digits', 'fake.npz'):
                words = [
                    method,
                    '--dataset',
                    dataset,
                    '--ipc',
                    '2',
                    '--smoke',
                    '--evaluation.num-seeds',
                    '1',
                    '--steps-per-call',
                    '5',
                    '--num-devices',
                    '1',
                ]
                if plugins:
                    words += ['--plugins', *plugins.split()]
                if method == 'idc':  # twenty updates of the set are two of all classes
                    words += ['--matching.max-synthetic', '4']
                if method == 'infer':
                    words += ['--teachers.networks', 'convnet_bn', 'resnet18_stem3']
                if method in ('dc', 'dsa'):
                    words += ['--training.every', '5', '--training.epochs', '1']
                if dataset == 'fake.npz' and method == 'sre2l':
                    words += ['--teachers.networks', 'convnet_bn']
                yield (
                    '-'.join(
                        (method, plugins.replace(' ', '+') or 'alone', dataset.removesuffix('.npz'))
                    ),
                    words,
                )


def found(words: list[str], steps: int, workdir: pathlib.Path, cache: pathlib.Path) -> dict:
    """Runs a case; what it leaves."""
    words = [str(cache.parent / word) if word == 'fake.npz' else word for word in words]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = run.main(
            [
                *words,
                '--num-steps',
                str(steps),
                '--workdir',
                str(workdir),
                '--cache-dir',
                str(cache),
            ]
        )
    assert code == 0, printed.getvalue()
    results = json.loads((workdir / 'results.json').read_text())
    images = np.load(workdir / 'distilled.npz')['images']
    return {
        'images': hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:16],
        'weights': {name: weight['value'] for name, weight in results['weights'].items()},
        'accuracy': {
            kind: {name: row['per_seed'] for name, row in rows.items()}
            for kind, rows in results['accuracy'].items()
        },
    }


def write_fake(folder: pathlib.Path) -> None:
    """Writes the made-up set into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = data.fake(num_classes=4, per_class=20)
    np.savez(
        folder / 'fake.npz',
        train_images=made.train.images,
        train_labels=made.train.labels,
        test_images=made.test.images,
        test_labels=made.test.labels,
    )


def record(folder: pathlib.Path) -> dict:
    """Runs every case, and half of each once more;
    returns what all leave, and keeps it in `bits.json`."""
    write_fake(folder)
    bits = {}
    for name, words in cases():
        half = STEPS if words[0] in CHUNKED else STEPS // 2
        found(words, half, folder / 'half' / name, folder / 'cache')
        bits[name] = found(words, STEPS, folder / 'whole' / name, folder / 'cache')
        print(name, bits[name]['images'], flush=True)
    (folder / 'bits.json').write_text(json.dumps(bits, indent=1, sort_keys=True))
    return bits


def compare(folder: pathlib.Path, scratch: pathlib.Path) -> list[str]:
    """Runs everything anew and continues what stands halfway;
    names the cases that left other bits."""
    bits, wrong = json.loads((folder / 'bits.json').read_text()), []
    write_fake(scratch)
    for name, words in cases():
        roads = {'anew': (scratch / name, scratch / 'cache')}
        if (folder / 'half' / name).exists():
            shutil.copytree(folder / 'half' / name, scratch / 'half' / name)
            for left in ('students', 'distilled.npz', 'results.json'):
                path = scratch / 'half' / name / left
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            roads['continued'] = scratch / 'half' / name, folder / 'cache'
        for road, (workdir, cache) in roads.items():
            now = found(words, STEPS, workdir, cache)
            if now != bits[name]:
                wrong.append(f'{name} ({road}): {bits[name]} became {now}')
        print(name, 'differs' if wrong and wrong[-1].startswith(f'{name} ') else 'same', flush=True)
    return wrong


def main(argv: list[str]) -> int:
    """Runs one command line."""
    mode, folder = argv[0], pathlib.Path(argv[1]).resolve()
    if mode == 'record':
        record(folder)
        return 0
    scratch = pathlib.Path(argv[2]).resolve() if len(argv) > 2 else folder / 'scratch'
    shutil.rmtree(scratch, ignore_errors=True)
    wrong = compare(folder, scratch)
    print('\n'.join(wrong) or 'the same bits')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
