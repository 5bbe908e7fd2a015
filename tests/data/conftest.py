"""Writes small data sets to disk in the forms that `jaxdd.data` reads."""

import io
import socket

import numpy as np
import pytest
from PIL import Image

NAMES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')


def png(image):
    """Encodes one [H, W, C] or [H, W] uint8 image without loss."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'PNG')
    return stream.getvalue()


def write_cifar10(data_dir, splits, version):
    """Lays out `{split: (images, labels)}` as TensorFlow Datasets does, without TensorFlow."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = data_dir / 'cifar10' / version
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=(32, 32, 3)),
            'label': tfds.features.ClassLabel(names=list(NAMES)),
        }
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name='cifar10', filetype_suffix='array_record'
    )
    infos = []
    for split, (images, labels) in splits.items():
        of_split = template.replace(split=split)
        # Groups of 16 provoke the log line that reading has to silence.
        shard = of_split.sharded_filepath(shard_index=0, num_shards=1)
        writer = ArrayRecordWriter(str(shard), 'group_size:16')
        for image, label in zip(images, labels):
            writer.write(features.serialize_example({'image': png(image), 'label': int(label)}))
        writer.close()
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=[len(labels)], num_bytes=0, filename_template=of_split
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        version=version,
        filename_template=template,
        check_data=False,
    )


@pytest.fixture(scope='session')
def tiny_cifar10(tmp_path_factory):
    """A prepared cifar10 with 20 training and 10 test images:
    (data_dir, {split: (images, labels)})."""
    data_dir, rng = tmp_path_factory.mktemp('tfds'), np.random.default_rng(0)
    splits = {
        split: (
            rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
            rng.permutation(count) % 10,
        )
        for split, count in (('train', 20), ('test', 10))
    }
    write_cifar10(data_dir, splits, '3.0.2')
    return data_dir, splits


@pytest.fixture
def image_folder(tmp_path):
    """Writes `{relative path: image}` as files and returns their root."""

    def write(files):
        for name, image in files.items():
            path = tmp_path / 'images' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, 'PNG')
        return tmp_path / 'images'

    return write


@pytest.fixture
def no_network(monkeypatch):
    """Turns every attempt to reach another machine into a failure, and lists the attempts."""
    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(args)
        raise AssertionError(f'tried to connect: {args}')

    for owner, name in (
        (socket, 'getaddrinfo'),
        (socket, 'create_connection'),
        (socket.socket, 'connect'),
    ):
        monkeypatch.setattr(owner, name, refuse)
    return attempts
