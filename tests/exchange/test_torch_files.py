"""Distilled sets as the PyTorch programs of their methods keep them, there and back."""

import ast
import inspect
import os
import pickle
import re
import sys

import numpy as np
import pytest

from jaxdd import whitening
from jaxdd.exchange import _rows, _torch, forms, ranking, torch_files
from jaxdd.exchange.forms import Artifact, Decode, Told, assemble
from jaxdd.exchange.torch_files import CIM, DATM, DC, IDC, MTT
from jaxdd.storage.distilled_checks import check

torch = pytest.importorskip('torch')

MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)
NAMES = ('cat', 'dog')
HOW = whitening.fit(np.random.default_rng(1).integers(0, 256, (60, 4, 4, 3), np.uint8))
HOW = whitening.Whitening(*(np.float32(value) for value in HOW))  # pyright: ignore
ALL = {'dc': DC, 'mtt': MTT, 'datm': DATM, 'idc': IDC, 'cim': CIM}


def told(space='normalised', **changes):
    given = Told(space, NAMES, MEAN, STD)  # pyright: ignore
    return given._replace(**({'whitening': HOW} if space == 'whitened' else {}) | changes)


def images(count=2):
    """`[2, n, 4, 4, 3]`, not within [0, 1]."""
    return np.random.default_rng(0).normal(size=(2, count, 4, 4, 3)).astype(np.float32)


def rows(count=2):
    """The images as torch lists them, and their labels."""
    return torch.from_numpy(images(count).reshape(-1, 4, 4, 3)).permute(0, 3, 1, 2), torch.arange(
        2
    ).repeat_interleave(count)


def plain(space='normalised', **changes):
    return assemble(images(), None, told(space, **changes))


def soft(**changes):
    labels = np.array([[[0.9, 0.1], [0.5, 0.5]], [[1e-3, 0.999], [0, 1]]], np.float32)
    return assemble(images(), labels, told('whitened', **changes), learning_rate=0.02)


def same(found: Artifact, artifact: Artifact, atol: float = 0):
    check(found.synthetic, found.about)
    np.testing.assert_allclose(found.synthetic.images, artifact.synthetic.images, rtol=0, atol=atol)
    np.testing.assert_allclose(found.synthetic.labels, artifact.synthetic.labels, rtol=0, atol=1e-6)
    assert found.about['class_names'] == NAMES


def saved(folder, **contents):
    """A folder of files of torch, named without their ending."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        torch.save(content, folder / f'{name}.pt')
    return folder


def test_class_one_image_two_row_three_lies_where_torch_looks_for_it(tmp_path):
    (path,) = DC.write(plain(), tmp_path)
    assert path == tmp_path / 'res.pt'
    content = torch.load(path, weights_only=True)
    assert set(content) == {'data', 'accs_all_exps'} and content['accs_all_exps'] == {}
    ((pixels, labels),) = content['data']
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.float32, (4, 3, 4, 4))
    assert pixels.is_contiguous() and labels.dtype == torch.int64
    assert labels.tolist() == [0, 0, 1, 1]
    for channel in range(3):  # image 3 is class 1's second; row 2, column 0
        assert pixels[3, channel, 2, 0] == images()[1, 1, 2, 0, channel]


@pytest.mark.parametrize(
    'name, names',
    [('dc', ['res.pt']), ('cim', ['cim.pt']), ('mtt', ['images_best.pt', 'labels_best.pt'])],
)
def test_what_is_written_is_read_bit_for_bit(tmp_path, name, names):
    form = ALL[name]
    artifact = plain(info={'method': name, 'dataset': 'mine'})
    written = form.write(artifact, tmp_path)
    assert [path.name for path in written] == names
    found = form.read(tmp_path, told(info=artifact.about['info']))
    same(found, artifact)
    np.testing.assert_array_equal(found.synthetic.labels, artifact.synthetic.labels)
    assert found.about['info'] == artifact.about['info']
    if name != 'mtt':
        same(form.read(written[0], told()), artifact)


def test_the_file_of_mtt_with_zca_in_its_name_holds_the_pictures(tmp_path):
    artifact = plain('whitened')
    MTT.write(artifact, tmp_path)
    assert torch.load(tmp_path / 'labels_best.pt', weights_only=True).tolist() == [0, 0, 1, 1]
    kept = torch.load(tmp_path / 'images_best.pt', weights_only=True)
    torch.testing.assert_close(kept, rows()[0], rtol=0, atol=0)
    shown = torch.load(tmp_path / 'images_zca_best.pt', weights_only=True)
    pictures = whitening.unwhiten(HOW, images()).reshape(4, 4, 4, 3)
    np.testing.assert_array_equal(shown.permute(0, 2, 3, 1), pictures)
    found = MTT.read(tmp_path, told('whitened'))
    same(found, artifact)
    np.testing.assert_array_equal(found.about['whitening'].vectors, HOW.vectors)
    np.testing.assert_array_equal(found.about['std'], np.ones(3))


def test_labels_of_datm_are_logits_whose_softmax_is_the_sets(tmp_path):
    artifact = soft()
    written = DATM.write(artifact, tmp_path)
    names = ('images_best.pt', 'labels_best.pt', 'images_zca_best.pt', 'lr_best.pt')
    assert [path.name for path in written] == list(names)
    labels = torch.load(tmp_path / 'labels_best.pt', weights_only=True)
    assert labels.dtype == torch.float32 and labels.isfinite().all()
    np.testing.assert_allclose(
        torch.softmax(labels, 1), artifact.synthetic.labels.reshape(4, 2), atol=1e-6
    )
    assert labels[0, 0] - labels[0, 1] == pytest.approx(np.log(9), rel=1e-6)
    rate = torch.load(tmp_path / 'lr_best.pt', weights_only=True)
    assert rate.shape == () and rate.item() == pytest.approx(0.02)
    found = DATM.read(tmp_path, told('whitened'))
    same(found, artifact)
    assert found.synthetic.learning_rate == pytest.approx(0.02)


def test_hard_labels_come_back_hard_from_datm(tmp_path):
    artifact = plain()
    DATM.write(artifact, tmp_path)
    found = DATM.read(tmp_path, told())
    np.testing.assert_array_equal(found.synthetic.labels, artifact.synthetic.labels)
    assert found.synthetic.learning_rate is None and not forms.missing(found, DC)


def test_a_released_set_of_datm_has_other_names_and_logits(tmp_path):
    pixels, _ = rows()
    logits = torch.tensor([[3.0, 1.0], [5, 5], [-2, 0], [0, 4]])
    saved(tmp_path, images=pixels.requires_grad_(), labels=logits, lr=torch.tensor([0.5]))
    found = DATM.read(tmp_path, told())
    check(found.synthetic, found.about)
    np.testing.assert_array_equal(found.synthetic.images, images())
    labels = np.asarray(found.synthetic.labels)
    assert labels[0, 0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
    np.testing.assert_allclose(labels[0, 1], [0.5, 0.5])
    assert found.synthetic.learning_rate == 0.5


def test_a_mosaic_of_idc_stays_whole_in_its_file(tmp_path):
    pixels = np.random.default_rng(0).random((2, 2, 4, 4, 3), np.float32)
    how = told('unit', decode=Decode(2, 'row', 'unit'))
    artifact = assemble(pixels, None, how)
    (path,) = IDC.write(artifact, tmp_path)
    kept, labels = torch.load(path, weights_only=True)
    assert path.name == 'data.pt' and isinstance(torch.load(path, weights_only=True), list)
    np.testing.assert_array_equal(kept.permute(0, 2, 3, 1), pixels.reshape(4, 4, 4, 3))
    assert labels.tolist() == [0, 0, 1, 1]
    found = IDC.read(tmp_path, how)
    same(found, artifact)
    np.testing.assert_array_equal(found.about['stored'], pixels)
    assert found.synthetic.images.shape == (2, 8, 4, 4, 3)


def test_whole_images_go_through_pixels_to_idc(tmp_path, recwarn):
    pixels = np.random.default_rng(0).random((2, 2, 4, 4, 3), np.float32)
    artifact = assemble((pixels - MEAN) / STD, None, told())
    IDC.write(artifact, tmp_path)
    kept, _ = torch.load(tmp_path / 'data.pt', weights_only=True)
    np.testing.assert_allclose(
        kept.permute(0, 2, 3, 1), pixels.reshape(4, 4, 4, 3), rtol=0, atol=1e-6
    )
    same(IDC.read(tmp_path, told('unit')), artifact, 1e-6)
    assert not recwarn


def test_normalised_mosaics_become_pixels_within_their_range(tmp_path):
    """Red of class 1, image 1, row 2, column 0: 4 x 0.2 + 0.4 = 1.2, of at most 1."""
    stored = np.zeros((2, 2, 4, 4, 3), np.float32)
    stored[1, 1, 2, 0, 0] = 4
    artifact = assemble(stored, None, told(decode=Decode(2, 'column', 'normalised')))
    with pytest.warns(
        UserWarning, match=r'1 of 192 pixel values .* by up to 0\.2, and are clipped'
    ):
        IDC.write(artifact, tmp_path)
    kept, _ = torch.load(tmp_path / 'data.pt', weights_only=True)
    assert kept[3, 0, 2, 0] == 1
    np.testing.assert_array_equal(kept[0, :, 0, 0], np.asarray(MEAN, np.float32))
    found = IDC.read(tmp_path, told('unit', decode=Decode(2, 'column', 'unit')))
    check(found.synthetic, found.about)
    assert found.about['stored'].max() == 1


def test_a_file_of_idc_may_reach_a_little_beyond_but_not_far(tmp_path):
    pixels, labels = rows()
    pixels = pixels.sigmoid()
    pixels[0, 0, 0, 0], pixels[0, 0, 0, 1] = -0.1, 1.2
    saved(tmp_path, data=[pixels, labels])
    with pytest.warns(UserWarning, match='2 of 192'):
        found = IDC.read(tmp_path, told('unit'))
    whole = forms.to_unit(found, np.asarray(found.synthetic.images))
    np.testing.assert_allclose(whole[0, 0, 0, :2, 0], [0, 1], atol=1e-6)
    saved(tmp_path, data=[pixels + 1, labels])
    with pytest.raises(ValueError, match=r'said to lie in \[0, 1\], but reach'):
        IDC.read(tmp_path, told('unit'))


def test_an_experiment_is_chosen(tmp_path):
    (pixels, labels), accuracies = rows(), {'ConvNet': [np.float64(0.4), np.float64(0.5)]}
    content = {'data': [[pixels, labels], [pixels + 1, labels]], 'accs_all_exps': accuracies}
    saved(tmp_path, res_DC_CIFAR10_ConvNet_2ipc=content)
    first = DC.read(tmp_path, told())
    second = DC.read(tmp_path, told(info={'experiment': 1}))
    np.testing.assert_array_equal(first.synthetic.images, images())
    np.testing.assert_array_equal(second.synthetic.images, images() + 1)
    assert second.about['info'] == {'experiment': 1}
    for wrong in (2, -1, True, '0'):
        with pytest.raises(ValueError, match=r'experiments 0\.\.1, got'):
            DC.read(tmp_path, told(info={'experiment': wrong}))


@pytest.mark.parametrize('whole', [True, False])
def test_files_of_every_age_are_read(tmp_path, whole):
    pixels, labels = rows()
    content = {'dataset': 'mine', 'data': pixels.to(torch.float64), 'label': labels.to(torch.int32)}
    torch.save(content, tmp_path / 'old.pt', _use_new_zipfile_serialization=whole)
    found = CIM.read(tmp_path, told(info={'method': 'cim'}))
    np.testing.assert_array_equal(found.synthetic.images, images())
    assert found.about['info'] == {'dataset': 'mine', 'method': 'cim'}


@pytest.mark.parametrize('kind', [torch.float16, torch.bfloat16])
def test_narrow_numbers_are_widened(tmp_path, kind):
    pixels, labels = rows()
    saved(tmp_path, data=[pixels.to(kind), labels])
    found = IDC.read(tmp_path, told())
    np.testing.assert_array_equal(
        found.synthetic.images.reshape(-1, 4, 4, 3), pixels.to(kind).float().permute(0, 2, 3, 1)
    )


def test_images_in_any_order_are_grouped_by_class(tmp_path):
    pixels, _ = rows()
    saved(tmp_path, data=[pixels, torch.tensor([1, 0, 1, 0])])
    found = IDC.read(tmp_path, told())
    flat = images().reshape(-1, 4, 4, 3)
    np.testing.assert_array_equal(found.synthetic.images[0], flat[[1, 3]])
    np.testing.assert_array_equal(found.synthetic.images[1], flat[[0, 2]])
    np.testing.assert_array_equal(np.asarray(found.synthetic.labels)[:, 0], np.eye(2))


@pytest.mark.parametrize(
    'name, lost',
    [
        ('dc', {'soft labels', 'mosaics', 'whitening', 'learning rate'}),
        ('cim', {'soft labels', 'mosaics', 'whitening', 'learning rate'}),
        ('mtt', {'soft labels', 'mosaics', 'learning rate'}),
        ('datm', {'mosaics'}),
        ('idc', {'soft labels', 'whitening', 'learning rate'}),
    ],
)
def test_what_a_form_cannot_hold_is_found_and_not_written(tmp_path, name, lost):
    mosaic = plain(decode=Decode(2, 'row', 'normalised'))
    found = set(forms.missing(soft(), ALL[name])) | set(forms.missing(mosaic, ALL[name]))
    assert found == lost
    for artifact in (soft(), mosaic):
        if forms.missing(artifact, ALL[name]):
            with pytest.raises(ValueError, match='cannot hold the set: its'):
                ALL[name].write(artifact, tmp_path)
    assert not list(tmp_path.iterdir())


def test_mosaics_are_written_decoded(tmp_path):
    artifact = forms.decoded(plain(decode=Decode(2, 'row', 'normalised')))
    DC.write(artifact, tmp_path)
    same(DC.read(tmp_path, told()), artifact)


def test_compensators_are_refused_before_anything_is_written(tmp_path):
    artifact = plain()
    kept = Artifact(artifact.synthetic, {**artifact.about, 'stored': {'natural': 0}})
    with pytest.raises(ValueError, match='mosaics|npz'):
        IDC.write(kept, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_files_of_another_set_are_not_left_beside(tmp_path):
    DATM.write(soft(), tmp_path)
    with pytest.raises(ValueError, match='has images_zca_best.pt, which would be read'):
        DATM.write(plain(), tmp_path)
    DATM.write(soft(), tmp_path)


PIXELS, LABELS = rows()
NAN = PIXELS.clone()
NAN[2, 1, 0, 0] = torch.nan


@pytest.mark.parametrize(
    'content, words',
    [
        ([PIXELS], 'a list of images and labels, got list of 1'),
        ({'data': PIXELS}, "got a dict of 'data'"),
        ([PIXELS, LABELS.tolist()], 'labels must be a tensor, got list'),
        ([PIXELS.to_sparse(), LABELS], 'a dense tensor'),
        ([PIXELS[0], LABELS], r'floats \[N, 1 or 3, height, width\], got float32 of shape'),
        ([PIXELS.permute(0, 2, 3, 1), LABELS], r'channels come before .* permute\(0, 3, 1, 2\)'),
        ([PIXELS[:0], LABELS[:0]], 'got float32 of shape'),
        ([(PIXELS * 9).to(torch.uint8), LABELS], 'got uint8'),
        ([NAN, LABELS], 'image 2 holds values that are not finite'),
        ([PIXELS[:, :1], LABELS], '1 channels, but mean has shape'),
        ([PIXELS, LABELS.float()], r'labels must be integers, .* got float32 of shape \(4,\)'),
        ([PIXELS, LABELS[:3]], r'one for each of 4 images, got int64 of shape \(3,\)'),
        ([PIXELS, LABELS + 1], r'2 class names are labels 0\.\.1, got 1\.\.2'),
        ([PIXELS, LABELS - 1], r'got -1\.\.0'),
        ([PIXELS, torch.tensor([0, 0, 0, 1])], r'got 1 of class 1 \(dog\) and 3 of class 0'),
        ([PIXELS, torch.zeros(4, dtype=torch.int64)], r'got 0 of class 1 \(dog\)'),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, content, words):
    saved(tmp_path, data=content)
    with pytest.raises(ValueError, match=words):
        IDC.read(tmp_path, told())


@pytest.mark.parametrize(
    'name, contents, words',
    [
        ('dc', {}, 'one res[*].pt, got none'),
        ('dc', {'res_a': 0, 'res_b': 0}, 'got res_a.pt, res_b.pt: name the file itself'),
        ('dc', {'res': []}, "whose 'data' lists experiments, got list of 0"),
        ('dc', {'res': {'data': []}}, "lists experiments, got a dict of 'data'"),
        ('dc', {'res': {'data': [[PIXELS]]}}, 'experiment 0 must be a list of images and labels'),
        (
            'dc',
            {'res': {'data': [[PIXELS, LABELS], [PIXELS[:2], LABELS[:2]]]}},
            'experiment 1 has images and labels of shapes .* no repetitions',
        ),
        ('cim', {'a': {'data': PIXELS}}, "'dataset', 'data' and 'label', got a dict of 'data'"),
        ('mtt', {}, 'neither images_best.pt nor images.pt'),
        ('mtt', {'images_best': PIXELS}, 'neither labels_best.pt nor labels.pt'),
        (
            'mtt',
            {'images_best': PIXELS, 'labels_best': LABELS, 'images_zca_best': PIXELS},
            'said to be normalised, but images_zca_best.pt comes only with whitened ones',
        ),
        (
            'mtt',
            {'images_best': PIXELS, 'labels_best': torch.zeros(4, 2)},
            'labels must be integers',
        ),
        ('datm', {'images_best': PIXELS, 'labels_best': LABELS}, 'are of another form'),
        ('datm', {'images': PIXELS, 'labels': torch.zeros(4, 3)}, r'floats \(4, 2\), a row for'),
        ('datm', {'images': PIXELS, 'labels': torch.full((4, 2), torch.inf)}, 'not finite'),
        ('datm', {'images': PIXELS[:3], 'labels': torch.ones(3, 2)}, '3 rows cannot be equally'),
        (
            'datm',
            {'images': PIXELS, 'labels': torch.ones(4, 2), 'lr': torch.tensor(-1.0)},
            'must be one positive number, got float32 -1',
        ),
        (
            'datm',
            {'images': PIXELS, 'labels': torch.ones(4, 2), 'lr': torch.ones(2)},
            r'one positive number, got float32 \(2,\)',
        ),
    ],
)
def test_a_folder_that_is_no_such_set_is_refused(tmp_path, name, contents, words):
    saved(tmp_path, **contents)
    with pytest.raises(ValueError, match=words):
        ALL[name].read(tmp_path, told())


@pytest.mark.parametrize('name', ALL)
def test_a_path_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match='absent.* must be a f'):
        ALL[name].read(tmp_path / 'absent', told())


@pytest.mark.parametrize(
    'how, words',
    [
        (told('whitened', whitening=None), 'a whitening is missing'),
        (told(whitening=HOW), 'a whitening is given'),
        (told(class_names=('cat', 'cat')), "got 'cat' more than once"),
        (told(std=(0.2, 0, 0.3)), 'std above 0'),
        (told(space='grey'), "'grey'"),
    ],
)
def test_what_is_told_must_fit(tmp_path, how, words):
    saved(tmp_path, images_best=PIXELS, labels_best=LABELS)
    with pytest.raises(ValueError, match=words):
        MTT.read(tmp_path, how)


class Harm:
    """A value that runs a command when it is unpickled."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize('whole', [True, False])
@pytest.mark.parametrize('name', ALL)
def test_code_of_a_file_is_named_and_does_not_run(tmp_path, name, whole):
    proof, folder = tmp_path / 'proof', tmp_path / 'set'
    folder.mkdir()
    stem = {'dc': 'res', 'idc': 'data'}.get(name, 'images')
    harm = Harm(os.system, f'touch {proof}')
    content = {'data': [[PIXELS, LABELS]], 'accs_all_exps': harm}
    torch.save(content, folder / f'{stem}.pt', _use_new_zipfile_serialization=whole)
    saved(folder, labels=LABELS) if name in ('mtt', 'datm') else None
    with pytest.raises(
        ValueError, match=r'asks for \w+\.system .*would run code .*refused'
    ) as seen:
        ALL[name].read(folder, told())
    assert not proof.exists()
    snippet = re.search(r'python -c "(.*)"$', str(seen.value))
    assert snippet and f"torch.load('{stem}.pt', map_location='cpu'" in snippet[1]
    assert f"'{stem}.pt')" in snippet[1] and compile(snippet[1], 'snippet', 'exec')


def test_a_file_that_was_converted_as_advised_is_read(tmp_path, monkeypatch):
    content = {'data': [[PIXELS.clone().requires_grad_(), LABELS]], 'args': Harm(dict, ())}
    saved(tmp_path, res=content)
    with pytest.raises(ValueError, match='asks for dict') as seen:
        DC.read(tmp_path, told())
    monkeypatch.chdir(tmp_path)
    snippet = re.search(r'python -c "(.*)"$', str(seen.value))
    assert snippet
    exec(snippet[1])
    found = DC.read(tmp_path, told())
    np.testing.assert_array_equal(found.synthetic.images, images())


def test_nothing_of_numpy_is_called_for_numbers_that_are_not_read(tmp_path):
    numbers = {'net': [np.float64(0.5), np.ones(3), np.datetime64('2020-01-01')]}
    saved(tmp_path, res={'data': [[PIXELS, LABELS]], 'accs_all_exps': numbers})
    DC.read(tmp_path, told())
    saved(tmp_path, res={'data': [[PIXELS.numpy(), LABELS]]})
    with pytest.raises(ValueError, match='images must be a tensor, got'):
        DC.read(tmp_path, told())


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('content', [b'', b'no file of torch', pickle.dumps([1, 2], 4)])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / 'data.pt').write_bytes(content)
    with pytest.raises(ValueError, match='data.pt is (damaged|more than tensors)'):
        IDC.read(tmp_path, told())


@pytest.mark.parametrize('name', ALL)
def test_without_torch_its_package_is_named(tmp_path, monkeypatch, name):
    saved(tmp_path, data=[PIXELS, LABELS], images=PIXELS, labels=LABELS)
    path = tmp_path if name in ('mtt', 'datm') else tmp_path / 'data.pt'
    artifact = assemble(images() * 0, None, told())
    monkeypatch.setitem(sys.modules, 'torch', None)
    for act in (
        lambda: ALL[name].write(artifact, tmp_path / 'new'),
        lambda: ALL[name].read(path, told()),
    ):
        with pytest.raises(ValueError, match=r"pip install 'jaxdd\[torch\]'"):
            act()
    assert not (tmp_path / 'new').exists() and ALL[name].package == 'torch'


@pytest.mark.parametrize('module', [torch_files, ranking, _torch, _rows])
def test_torch_is_imported_only_when_it_is_used(module):
    body = ast.parse(inspect.getsource(module)).body
    names = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    assert names and 'torch' not in names
