"""Folders that TensorFlow Datasets prepared: read exactly, without TensorFlow, or refused."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxdd import data
from jaxdd.data import specs
from jaxdd.data.prepared import file_format, prepared_folder


def test_prepared_data_reads_back_exactly(tiny_cifar10, no_network):
    data_dir, splits = tiny_cifar10
    read = data.load('cifar10', data_dir=data_dir)
    assert read.spec == data.spec('cifar10') and no_network == []
    for source, (images, labels) in zip(read[1:3], splits.values(), strict=True):
        np.testing.assert_array_equal(source.images, images)
        np.testing.assert_array_equal(source.labels, labels)
        assert source.images.dtype == np.uint8 and source.labels.dtype == np.int32


def test_reading_needs_no_tensorflow(tiny_cifar10):
    program = """
import sys
from jaxdd import data
from jaxdd.data.subsets import SUBSETS
assert 'tensorflow_datasets' not in sys.modules
print(len(data.load('cifar10', data_dir=sys.argv[1]).train.labels))
assert 'tensorflow_datasets' in sys.modules and 'tensorflow' not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, '-c', program, tiny_cifar10[0]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '20'
    assert 'group size' not in done.stderr


def test_only_the_group_size_message_is_silenced(tiny_cifar10, caplog):
    logger = logging.getLogger('absl')
    before = list(logger.filters)
    data.load('cifar10', data_dir=tiny_cifar10[0])
    assert 'group size' not in caplog.text
    assert logger.filters == before


@pytest.mark.parametrize('name', [r.name for r in specs.TABLE.values() if r.tfds])
def test_not_prepared_fails_without_network_and_names_the_command(name, tmp_path, no_network):
    with pytest.raises(ValueError) as error:
        data.load(name, data_dir=tmp_path / 'my data')
    assert no_network == []
    assert str(error.value).startswith(f'{name} is not prepared under {tmp_path}/my data;')
    assert str(error.value).endswith(
        "pip install -e '.[prepare]' && python -m experiments.prepare "
        f"{name} --data-dir '{tmp_path}/my data'"
    )


def test_the_default_data_dir_is_that_of_tensorflow_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(ValueError, match=f'not prepared under {tmp_path}/tensorflow_datasets;'):
        data.load('mnist')


def test_the_newest_version_is_read_and_unfinished_ones_are_not(tmp_path):
    for version in ('3.0.2', '3.0.10', '2.9.9', '3.1.0.incompleteABC'):
        (tmp_path / 'cifar10' / version).mkdir(parents=True)
        (tmp_path / 'cifar10' / version / 'dataset_info.json').write_text('{}')
    assert prepared_folder('cifar10', tmp_path).name == '3.0.10'
    assert prepared_folder('mnist', tmp_path) is None


def test_another_file_format_is_refused(tmp_path):
    (tmp_path / 'cifar10' / '3.0.2').mkdir(parents=True)
    info = tmp_path / 'cifar10' / '3.0.2' / 'dataset_info.json'
    for content, stored in (('{}', 'tfrecord'), ('{"fileFormat": "parquet"}', 'parquet')):
        info.write_text(content)
        assert file_format(info.parent) == stored
        with pytest.raises(
            ValueError, match=f'holds cifar10 as {stored}, but only array_record.*another f'
        ):
            data.load('cifar10', data_dir=tmp_path)


@pytest.mark.parametrize('file, content, message', [
    ('dataset_info.json', b'[]',
     'dataset_info.json cannot be read .*; delete the folder and prepare it again'),
    ('dataset_info.json', b'{"fileFormat"', 'dataset_info.json cannot be read'),
    ('dataset_info.json', bytes([255]), 'dataset_info.json cannot be read'),
    ('dataset_info.json', b'{"fileFormat": "array_record", "splits": 3}',
     '3.0.2: its description cannot be read'),
    ('features.json', b'{}',
     '3.0.2: its description cannot be read .*; delete the folder and prepare it again')
])  # fmt: skip
def test_a_damaged_description_is_refused(tiny_cifar10, tmp_path, file, content, message):
    shutil.copytree(tiny_cifar10[0] / 'cifar10', tmp_path / 'cifar10')
    (tmp_path / 'cifar10' / '3.0.2' / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.load('cifar10', data_dir=tmp_path)


def test_lost_files_are_named(tiny_cifar10, tmp_path):
    shutil.copytree(tiny_cifar10[0] / 'cifar10', tmp_path / 'cifar10')
    next(tmp_path.glob('cifar10/3.0.2/*test.array_record*')).unlink()
    with pytest.raises(ValueError, match="3.0.2: split 'test' cannot be read .* prepare it again"):
        data.load('cifar10', data_dir=tmp_path)
