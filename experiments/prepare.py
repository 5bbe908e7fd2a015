"""Downloads a data set once, so that every later run reads it without TensorFlow or a network.

Command:   pip install -e '.[prepare]' && python -m experiments.prepare cifar10 --data-dir DIR
"""
import argparse
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
    parser = argparse.ArgumentParser(prog='python -m experiments.prepare',
                                     description='Downloads a data set and stores it for later runs.')
    parser.add_argument('name', help='cifar10, cifar100, mnist, fashion_mnist or svhn_cropped')
    parser.add_argument('--data-dir', default=DATA_DIR, help='where to put it (default: %(default)s)')
    options = parser.parse_args(arguments)
    print(f'Preparing {options.name} in {options.data_dir} ...', flush=True)
    try:
        folder = data.prepare(options.name, options.data_dir)
    except (ValueError, ConnectionError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{options.name} is ready in {folder}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
