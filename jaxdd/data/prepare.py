"""Downloads a data set and stores it so that `load` can read it without TensorFlow."""

import contextlib
import importlib.util
import os
import pathlib

from jaxdd.data import specs
from jaxdd.data.prepared import file_format, prepared_folder

MAX_RETRIES = 1


def prepare(name: str, data_dir: str | os.PathLike) -> pathlib.Path:
    """Downloads a data set and stores it as array_record; needs TensorFlow and a network.

    Does nothing where that has been done before, so it may be called again.

    Args:
        name: a data set that TensorFlow Datasets provides, e.g. 'cifar10'.
        data_dir: where to put it; `load` wants the same.

    Returns:
        The folder it lies in, `<data_dir>/<name>/<version>`.

    Raises:
        ValueError: an unknown name, one that nobody can download for you, a folder that holds
            another format, or no TensorFlow.
        ConnectionError: the download failed.
    """
    row, data_dir = specs.spec(name), pathlib.Path(os.path.expanduser(data_dir))
    if row.tfds is None:
        names = ', '.join(sorted(r.name for r in specs.TABLE.values() if r.tfds))
        how = (
            'comes with scikit-learn, there is nothing to prepare'
            if name == 'digits'
            else f'cannot be downloaded for you; unpack it as an image folder {data_dir / name}'
        )
        raise ValueError(f'{name} {how}. What can be prepared: {names}')
    folder = prepared_folder(row.tfds, data_dir)
    if folder is None:
        _download(row.tfds, data_dir)
        folder = prepared_folder(row.tfds, data_dir)
    if file_format(folder) != 'array_record':
        raise ValueError(
            f'{folder} holds {name} as {file_format(folder)}, which cannot be read without '
            'TensorFlow; give another data_dir, or delete that folder'
        )
    return folder


def _download(name: str, data_dir: pathlib.Path) -> None:
    if importlib.util.find_spec('tensorflow') is None:
        raise ValueError(
            f"preparing {name} needs TensorFlow (reading it does not): pip install -e '.[prepare]'"
        )
    import requests
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=str(data_dir), file_format='array_record')
    try:
        with _few_retries():
            builder.download_and_prepare(file_format='array_record')
    except requests.exceptions.RequestException as error:
        raise ConnectionError(
            f'{name} could not be downloaded ({_reason(error)}). Without a network, prepare it on '
            f'another machine and copy the folder {name} into {data_dir}'
        ) from error


@contextlib.contextmanager
def _few_retries():
    """Lets a machine without a network fail in seconds;
    the downloader's ten retries take minutes."""
    from tensorflow_datasets.core.download import downloader

    before = downloader.MAX_RETRIES
    downloader.MAX_RETRIES = MAX_RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


def _reason(error: Exception) -> str:
    url = getattr(error.request, 'url', None)
    return f'{type(error).__name__} at {url}' if url else type(error).__name__
