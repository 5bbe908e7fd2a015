"""Preparing data sets, without TensorFlow and without a network."""

import importlib.util
import types

import numpy as np
import pytest
import requests
from tensorflow_datasets.core.download import downloader

from experiments import prepare as command
from jaxdd import data


@pytest.fixture
def tensorflow(monkeypatch):
    """Decides whether TensorFlow looks installed."""

    def installed(answer):
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            'find_spec',
            lambda name, *rest: answer if name == 'tensorflow' else find(name, *rest),
        )

    return installed


@pytest.fixture
def builder(monkeypatch, tensorflow):
    """Stands in for the builder of TensorFlow Datasets; records how it is used."""
    import tensorflow_datasets as tfds

    tensorflow(object())
    calls = []

    def install(action):
        def build(name, **options):
            def download_and_prepare(**kwargs):
                calls.append((name, options, kwargs, downloader.MAX_RETRIES))
                action()

            return types.SimpleNamespace(download_and_prepare=download_and_prepare)

        monkeypatch.setattr(tfds, 'builder', build)
        return calls

    return install


def np_equal(one, other):
    return one.spec == other.spec and all(
        map(np.array_equal, (*one.train, *one.test), (*other.train, *other.test))
    )


def write_info(tmp_path, content):
    folder = tmp_path / 'cifar10' / '3.0.2'
    folder.mkdir(parents=True)
    (folder / 'dataset_info.json').write_text(content)
    return folder


def test_prepared_already_does_nothing(tiny_cifar10, tensorflow, no_network):
    tensorflow(None)
    folder = data.prepare('cifar10', tiny_cifar10[0])
    assert folder == tiny_cifar10[0] / 'cifar10' / '3.0.2' and no_network == []


def test_downloads_as_array_record_with_few_retries(builder, tmp_path):
    before = downloader.MAX_RETRIES
    calls = builder(lambda: write_info(tmp_path, '{"fileFormat": "array_record"}'))
    assert data.prepare('cifar10', tmp_path) == tmp_path / 'cifar10' / '3.0.2'
    assert calls == [
        (
            'cifar10',
            {'data_dir': str(tmp_path), 'file_format': 'array_record'},
            {'file_format': 'array_record'},
            1,
        )
    ]
    assert downloader.MAX_RETRIES == before
    data.prepare('cifar10', tmp_path)
    assert len(calls) == 1


def test_without_tensorflow_names_the_extra(tensorflow, tmp_path, no_network):
    tensorflow(None)
    with pytest.raises(
        ValueError, match=r"cifar10 needs TensorFlow .*: pip install -e '\.\[prepare\]'"
    ):
        data.prepare('cifar10', tmp_path)
    assert no_network == []


def test_without_a_network_says_so_plainly(builder, tmp_path):
    def fail():
        request = requests.Request('GET', 'https://example.org/a.tgz')
        raise requests.exceptions.ConnectionError(request=request)

    before = downloader.MAX_RETRIES
    builder(fail)
    with pytest.raises(
        ConnectionError,
        match='cifar10 could not be downloaded .ConnectionError at '
        'https://example.org/a.tgz.* on another machine and copy',
    ):
        data.prepare('cifar10', tmp_path)
    assert downloader.MAX_RETRIES == before


def test_another_file_format_is_refused(tmp_path):
    write_info(tmp_path, '{"fileFormat": "tfrecord"}')
    with pytest.raises(
        ValueError, match='3.0.2 holds cifar10 as tfrecord, .*another data_dir, or delete'
    ):
        data.prepare('cifar10', tmp_path)


@pytest.mark.parametrize(
    'name,message',
    [
        (
            'digits',
            'digits comes with scikit-learn, there is nothing to prepare.*cifar10, cifar100',
        ),
        (
            'imagenette',
            'imagenette cannot be downloaded for you; unpack it as an image folder .*/imagenette',
        ),
        ('mnits', "unknown data set 'mnits'.*Did you mean 'mnist'"),
    ],
)
def test_names_that_cannot_be_prepared(name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        data.prepare(name, tmp_path)


def test_command_prints_where_the_data_is(tiny_cifar10, capsys):
    assert command.main(['cifar10', '--data-dir', str(tiny_cifar10[0])]) == 0
    out, err = capsys.readouterr()
    assert (
        out.splitlines()[-1] == f'cifar10 is ready in {tiny_cifar10[0]}/cifar10/3.0.2' and err == ''
    )


def test_command_exports_one_file_that_stands_for_the_data_set(tiny_cifar10, tmp_path, capsys):
    assert (
        command.main(
            ['cifar10', '--data-dir', str(tiny_cifar10[0]), '--export', str(tmp_path / 'out')]
        )
        == 0
    )
    assert capsys.readouterr().out.splitlines()[-1].endswith(f' and as {tmp_path}/out/cifar10.npz')
    assert np_equal(
        data.load('cifar10', data_dir=tmp_path / 'out'),
        data.load('cifar10', data_dir=tiny_cifar10[0]),
    )


def test_an_export_that_cannot_be_written_is_one_line(tiny_cifar10, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert (
        command.main(
            ['cifar10', '--data-dir', str(tiny_cifar10[0]), '--export', str(tmp_path / 'file')]
        )
        == 2
    )
    assert capsys.readouterr().err.startswith('error: ')


def test_command_reports_errors_in_one_line(tensorflow, tmp_path, capsys):
    tensorflow(None)
    assert command.main(['mnist', '--data-dir', str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith('error: preparing mnist needs TensorFlow') and len(err.splitlines()) == 1


def test_command_reports_a_failed_download_in_one_line(builder, tmp_path, capsys):
    def fail():
        raise requests.exceptions.Timeout()

    builder(fail)
    assert command.main(['mnist', '--data-dir', str(tmp_path)]) == 2
    assert 'error: mnist could not be downloaded (Timeout).' in capsys.readouterr().err
