"""A small labelled set as TensorFlow Datasets keeps it, written and read without TensorFlow."""

import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdd.data.prepared import file_format, quiet_group_size

NAME, VERSION, SPLIT = 'distilled', '1.0.0', 'train'
METADATA = 'metadata.json'
AGAIN = 'copy or write the set again'


class Examples(NamedTuple):
    """N examples of one split."""

    pictures: Sequence[bytes]  # N image files, feature image
    labels: np.ndarray  # [N] integers, feature label
    tensors: Mapping[str, np.ndarray]  # [N, ...] float32, features by name


class Description(NamedTuple):
    """What is known about all of them."""

    class_names: Sequence[str] | None  # in label order; None: only numbers are known
    metadata: Mapping[str, Any]  # JSON-able
    text: str = ''
    citation: str = ''  # BibTeX


def tfds_files(
    examples: Examples, image_shape: Sequence[int], description: Description
) -> dict[str, bytes]:
    """The files of a folder that `tfds.builder_from_directory` reads, in the form array_record.

    Args:
        examples: of the split 'train'.
        image_shape: H, W, C of every picture.
        description: its class names stand one a line.

    Returns:
        Contents by name. The same arguments give the same bytes.

    Raises:
        ValueError: class names that do not fit on a line.
    """
    import tensorflow_datasets as tfds

    names = list(description.class_names or ())
    if wrong := [name for name in names if name != name.strip() or len(name.splitlines()) != 1]:
        raise ValueError(
            f'TensorFlow Datasets keeps class names one a line, and {wrong[0]!r} does not fit on '
            'one: rename the class, or choose another form'
        )
    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=tuple(image_shape)),
            'label': tfds.features.ClassLabel(names=names),
            **{
                name: tfds.features.Tensor(shape=array.shape[1:], dtype=np.float32)
                for name, array in examples.tensors.items()
            },
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        _write(pathlib.Path(folder), features, examples, description)
        return {path.name: path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())}


def read_tfds(folder: pathlib.Path) -> tuple[Examples, Description]:
    """Reads the split 'train' of a folder, whoever wrote it.

    Raises:
        ValueError: no such folder, another format of its files, features image or label that are
            missing, damaged records.
    """
    import tensorflow_datasets as tfds

    if not (folder / 'dataset_info.json').is_file():
        raise ValueError(f'{folder}: no dataset_info.json in it; give the folder <name>/<version>')
    if file_format(folder) != 'array_record':
        raise ValueError(
            f'{folder} holds records as {file_format(folder)}, but only array_record can be read '
            'without TensorFlow'
        )
    try:
        builder: Any = tfds.builder_from_directory(folder)
        found = _read(builder)
        names = list(builder.info.features['label'].names)
    except Exception as error:  # of many kinds: of the description, of the records
        reason = f'no feature {error}' if isinstance(error, KeyError) else error
        raise ValueError(f'{folder}: cannot be read ({reason}); {AGAIN}') from error
    known = names != [str(i) for i in range(len(names))]
    return found, Description(names if known else None, _metadata(folder))


def _write(
    folder: pathlib.Path, features: Any, examples: Examples, description: Description
) -> None:
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.Path(folder),
        dataset_name=NAME,
        filetype_suffix='array_record',
        split=SPLIT,
    )
    path = template.sharded_filepath(shard_index=0, num_shards=1)
    size = _write_records(pathlib.Path(path), features, examples)
    split = tfds.core.SplitInfo(
        name=SPLIT,
        shard_lengths=[len(examples.pictures)],
        num_bytes=size,
        filename_template=template,
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[split],
        version=VERSION,
        filename_template=template.replace(split=None),
        check_data=False,  # the check needs TensorFlow
        description=description.text,
        citation=description.citation,
        supervised_keys=('image', 'label'),
    )
    (folder / METADATA).write_text(json.dumps(description.metadata), encoding='utf-8')


def _write_records(path: pathlib.Path, features: Any, examples: Examples) -> int:
    """Writes one file of records; returns their bytes."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example  # pyright: ignore
    size, writer = 0, ArrayRecordWriter(str(path), 'group_size:1,max_parallelism:1')
    for i, (picture, label) in enumerate(zip(examples.pictures, examples.labels)):
        more = {name: array[i] for name, array in examples.tensors.items()}
        record = features.serialize_example({'image': picture, 'label': int(label), **more})
        # A record is a map, whose order otherwise changes from run to run.
        message = example.FromString(record)
        record = message.SerializeToString(deterministic=True)
        writer.write(record)
        size += len(record)
    writer.close()
    return size


def _read(builder: Any) -> Examples:
    import tensorflow_datasets as tfds

    with quiet_group_size():
        records = builder.as_data_source(SPLIT, decoders={'image': tfds.decode.SkipDecoding()})
        rows = records.__getitems__(list(range(len(records))))
    others = [
        name
        for name, feature in builder.info.features.items()
        if name not in ('image', 'label') and type(feature) is tfds.features.Tensor
    ]
    return Examples(
        [row['image'] for row in rows],
        np.array([row['label'] for row in rows], np.int64),
        {name: np.stack([np.asarray(row[name]) for row in rows]) for name in others},
    )


def _metadata(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / METADATA
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f'{path}: cannot be read ({error}); {AGAIN}') from error
