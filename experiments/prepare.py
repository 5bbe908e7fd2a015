"""Downloads a data set once, so that every later run reads it without TensorFlow or a network.

Command:   pip install -e '.[prepare]' && python -m experiments.prepare cifar10 --data-dir DIR
With       --export FOLDER it also writes FOLDER/cifar10.npz, one file for machines that have
           nothing but this project: there FOLDER is the data_dir.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from jaxdd import data
from jaxdd.data.sources import DATA_DIR


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares the data set named on the command line.

    Args:
        arguments: the command line; None is that of the process.

    Returns:
        The exit status: 0, or 2 with one line on stderr where it could not be done.
    """
    parser = argparse.ArgumentParser(
        prog='python -m experiments.prepare',
        description='Downloads a data set and stores it for later runs.',
    )
    parser.add_argument('name', help='cifar10, cifar100, mnist, fashion_mnist or svhn_cropped')
    parser.add_argument(
        '--data-dir', default=DATA_DIR, help='where to put it (default: %(default)s)'
    )
    parser.add_argument(
        '--export', metavar='FOLDER', help='also write FOLDER/<name>.npz, to be copied elsewhere'
    )
    options = parser.parse_args(arguments)
    print(f'Preparing {options.name} in {options.data_dir} ...', flush=True)
    try:
        folder = data.prepare(options.name, options.data_dir)
        exported = options.export and _export(options)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{options.name} is ready in {folder}' + (f' and as {exported}' if exported else ''))
    return 0


def _export(options: argparse.Namespace) -> pathlib.Path:
    path = pathlib.Path(options.export).expanduser() / f'{options.name}.npz'
    data.save_npz(path, options.name, options.data_dir)
    return path


if __name__ == '__main__':
    sys.exit(main())
