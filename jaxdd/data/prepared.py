"""Folders that TensorFlow Datasets prepared, read without TensorFlow."""

import contextlib
import json
import logging
import os
import pathlib
import re
import shlex
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdd.data import specs

AGAIN = 'delete the folder and prepare it again'
READ_AT_ONCE = 1000


def prepared_folder(name: str, data_dir: str | os.PathLike) -> pathlib.Path | None:
    """Finds where TensorFlow Datasets prepared a data set, the newest version first.

    Args:
        name: its name there.
        data_dir: where prepared data sets lie.

    Returns:
        `<data_dir>/<name>/<version>`, or None where there is none.
    """
    found = pathlib.Path(os.path.expanduser(data_dir)).glob(f'{name}/*/dataset_info.json')
    versions = [f.parent for f in found if re.fullmatch(r'\d+\.\d+\.\d+', f.parent.name)]
    return max(versions, key=lambda f: tuple(map(int, f.name.split('.'))), default=None)


def file_format(folder: pathlib.Path) -> str:
    """Tells how TensorFlow Datasets stored a data set; only 'array_record' can be read here.

    Raises:
        ValueError: its description there is damaged.
    """
    path = folder / 'dataset_info.json'
    try:
        info = {**json.loads(path.read_text(encoding='utf-8'))}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'{path} cannot be read ({error}); {AGAIN}') from error
    # old preparations do not say; it was the only format then
    return info.get('fileFormat', 'tfrecord')


def opened(row: specs.Spec, data_dir: pathlib.Path) -> tuple[specs.Spec, Any, pathlib.Path]:
    """A data set's row with its class names, its builder and its folder.

    Raises:
        ValueError: it is not prepared there, or not in a form that can be read; says how to.
    """
    folder = prepared_folder(row.tfds, data_dir)
    command = f"pip install -e '.[prepare]' && python -m experiments.prepare {row.name} --data-dir"
    if folder is None:
        raise ValueError(
            f'{row.name} is not prepared under {data_dir}; give the data_dir where it is, '
            f'or prepare it with data.prepare (needs a network), or from a shell: '
            f'{command} {shlex.quote(str(data_dir))}'
        )
    if file_format(folder) != 'array_record':
        raise ValueError(
            f'{folder} holds {row.name} as {file_format(folder)}, but only array_record can be '
            f'read without TensorFlow; prepare it in another folder: {command} <dir>'
        )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        names = row.class_names or tuple(builder.info.features['label'].names)
    except Exception as error:  # of many kinds, from protobuf's to AttributeError
        raise ValueError(f'{folder}: its description cannot be read ({error}); {AGAIN}') from error
    return row._replace(class_names=names), builder, folder


def read_split(
    builder: Any, folder: pathlib.Path, split: str, read: Callable[[bytes], Any]
) -> tuple[list, np.ndarray]:
    """What `read` makes of every encoded image, and the labels."""
    import tensorflow_datasets as tfds

    images, labels = [], []
    with quiet_group_size():
        try:
            records = builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()})
            # Decoding in bulk takes half the time of asking for one example after another.
            for start in range(0, len(records), READ_AT_ONCE):
                ids = list(range(start, min(start + READ_AT_ONCE, len(records))))
                for example in records.__getitems__(ids):
                    images.append(read(example['image']))
                    labels.append(example['label'])
        except Exception as error:
            # of many kinds: of the records, of what is in them, of the images in that
            raise ValueError(
                f'{folder}: split {split!r} cannot be read ({error}); {AGAIN}'
            ) from error
    return images, np.array(labels, np.int32)


@contextlib.contextmanager
def quiet_group_size():
    """Silences the ERROR that array_record logs about harmless grouped records."""

    def keep(record):
        return 'was created with group size' not in record.getMessage()

    logger = logging.getLogger('absl')
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
