"""The layout of a data set of Hugging Face: what `datasets` sees, and what is read again."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from small_sets import (
    INFO,
    KINDS,
    MEAN,
    NAMES,
    STD,
    fitted,
    learned,
    mosaics,
    plain,
    require_same,
    soft,
    told,
    whitened,
)

from jaxdd.exchange import cards
from jaxdd.exchange.forms import HOLDABLE, Decode, stored, to_unit
from jaxdd.exchange.hub import HUB
from jaxdd.storage.distilled_checks import check

pa = pytest.importorskip('pyarrow')
pq = pytest.importorskip('pyarrow.parquet')
safetensors = pytest.importorskip('safetensors.numpy')

FILES = ['README.md', 'data/train-00000-of-00001.parquet', 'exact.safetensors', 'recipe.json']
TABLE = FILES[1]


@pytest.fixture
def load(monkeypatch, tmp_path):
    """`datasets.load_dataset` without a network."""
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setenv('HF_DATASETS_OFFLINE', '1')
    datasets = pytest.importorskip('datasets')
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_OFFLINE', True, raising=False)
    cache = str(tmp_path / 'cache')

    def load(*args, **kwargs):
        return datasets.load_dataset(*args, **kwargs, split='train', cache_dir=cache)

    return load


def front_matter(folder):
    """What a program reads in the card."""
    yaml = pytest.importorskip('yaml')
    text = (folder / 'README.md').read_text(encoding='utf-8')
    return yaml.safe_load(text.split('---\n')[1])


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_set_comes_back_bit_by_bit(kind, tmp_path):
    make, what = KINDS[kind]
    paths = HUB.write(make(), tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in paths) == FILES
    found = HUB.read(tmp_path, what)
    require_same(make(), found)
    check(found.synthetic, found.about)
    assert HUB.holds == set(HOLDABLE)


def test_datasets_reads_the_folder(load, tmp_path):
    HUB.write(soft(), tmp_path / 'set')
    train = load(str(tmp_path / 'set'))
    assert train.features['label'].names == list(NAMES)
    levels, labels = soft().about['images_uint8'], soft().synthetic.labels
    assert len(train) == 6 and set(train.column_names) == {
        'image', 'label', 'class_id', 'soft_label'
    }  # fmt: skip
    for i, row in enumerate(train):
        np.testing.assert_array_equal(np.asarray(row['image']), levels[i // 2, i % 2])
        assert row['label'] == row['class_id'] == i // 2
        np.testing.assert_array_equal(np.float32(row['soft_label']), labels[i // 2, i % 2])


def test_datasets_reads_the_parquet_file_alone(load, tmp_path):
    HUB.write(soft(logits=True), tmp_path / 'set')
    train = load('parquet', data_files=str(tmp_path / 'set' / TABLE))
    assert train.features['label'].names == list(NAMES)
    assert train[5]['image'].mode == 'RGB' and train[5]['image'].size == (4, 4)
    np.testing.assert_array_equal(
        np.float32(train['soft_label']).reshape(3, 2, 3), soft(logits=True).synthetic.labels
    )


def test_exact_numbers_need_no_library_of_ours(tmp_path):
    HUB.write(mosaics(), tmp_path)
    exact = safetensors.load_file(tmp_path / 'exact.safetensors')
    np.testing.assert_array_equal(exact['images'], mosaics().synthetic.images)
    np.testing.assert_array_equal(exact['stored'], mosaics().about['stored'])
    assert set(exact) == {'images', 'stored'}
    recipe = json.loads((tmp_path / 'recipe.json').read_text())
    assert recipe['decode'] == {
        'factor': 2,
        'order': 'row',
        'space': 'unit',
        'form': 'single',
    }
    assert recipe['space'] == 'unit' and recipe['labels'] == 'hard'
    assert recipe['mean'] == list(MEAN) and recipe['std'] == list(STD)
    assert recipe['info'] == mosaics().about['info']


def test_the_table_holds_pixels_of_what_is_stored(tmp_path):
    for make in (mosaics, whitened):
        HUB.write(make(), tmp_path / make.__name__)
        table = pq.read_table(tmp_path / make.__name__ / TABLE)
        images, _ = stored(make())
        pixels = images if make is mosaics else to_unit(whitened(), images)
        first = np.asarray(Image.open(io.BytesIO(table['image'][0].as_py()['bytes'])))
        np.testing.assert_allclose(first / 255, pixels[0, 0].clip(0, 1), atol=0.5 / 255 + 1e-6)
        assert table['label'].to_pylist() == sorted(table['label'].to_pylist())


def test_the_cards_front_matter_says_what_the_table_has(tmp_path):
    artifact = soft()
    names = ('yes', 'a: "b" \\ #\n', 'é 目 \U0001f600')
    info = {'config': {'method': 'dm', 'dataset': 'pets'}, 'license': 'mit', 'temperature': 4,
            'bibtex': ['@a{b}', '@c{d}']}  # fmt: skip
    about = {**artifact.about, 'class_names': names, 'info': info}
    HUB.write(artifact._replace(about=about), tmp_path)
    found = front_matter(tmp_path)
    assert found['license'] == 'mit' and found['task_categories'] == ['image-classification']
    assert found['configs'][0]['data_files'] == [{'split': 'train', 'path': 'data/train-*'}]
    image, label, number, labels = found['dataset_info']['features']
    assert image == {'name': 'image', 'dtype': 'image'}
    assert label['dtype']['class_label']['names'] == dict(zip('012', names))
    assert (number['name'], labels['name'], labels['sequence']) == (
        'class_id', 'soft_label', 'float32'
    )  # fmt: skip
    text = (tmp_path / 'README.md').read_text(encoding='utf-8')
    assert '# pets, distilled with dm' in text and '2 synthetic images of 4 x 4 pixels' in text
    assert '@a{b}\n\n@c{d}' in text and 'temperature of the labels is 4' in text
    assert json.loads((tmp_path / 'recipe.json').read_text())['temperature'] == 4


def test_a_card_without_facts_claims_none(tmp_path):
    HUB.write(plain()._replace(about={**plain().about, 'info': {}}), tmp_path)
    assert front_matter(tmp_path)['license'] == 'unknown'
    text = (tmp_path / 'README.md').read_text(encoding='utf-8')
    assert '# A data set, distilled\n' in text and 'bibtex' not in text and 'mosaic' not in text
    HUB.write(learned(), tmp_path)
    assert 'learned rate 0.0123' in (tmp_path / 'README.md').read_text(encoding='utf-8')
    assert cards.bibtex({'bibtex': '@a{b}'}) == '@a{b}'


def test_a_snippet_of_the_card_runs(load, tmp_path, monkeypatch):
    HUB.write(plain(), tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {'load_dataset': load}
    code = cards.LOADING.split('```python\n')[2].split('```')[0]
    exec(code, names)
    np.testing.assert_array_equal(names['images'], plain().synthetic.images)
    assert names['recipe']['class_names'] == list(NAMES)


def png(level, size=(4, 4)):
    content = io.BytesIO()
    Image.new('RGB', size, (level,) * 3).save(content, 'PNG')
    return content.getvalue()


def write_table(folder, **columns):
    """A table as others publish it: two classes, unsorted."""
    base = {
        'image': [{'bytes': png(level), 'path': None} for level in (40, 10, 50, 20)],
        'class_id': [1, 0, 1, 0],
    }
    (folder / 'data').mkdir(parents=True, exist_ok=True)
    columns = {name: one for name, one in {**base, **columns}.items() if one is not None}
    pq.write_table(pa.table(columns), folder / TABLE)
    return folder


TWO = told(class_names=('a', 'b'))


def test_a_table_of_others_is_put_in_class_order(tmp_path):
    found = HUB.read(write_table(tmp_path), TWO)
    check(found.synthetic, found.about)
    np.testing.assert_array_equal(found.about['images_uint8'][:, :, 0, 0, 0], [[10, 20], [40, 50]])
    np.testing.assert_allclose(
        found.synthetic.images[1, 0, 0, 0], (40 / 255 - np.float64(MEAN)) / STD, rtol=1e-5
    )
    np.testing.assert_array_equal(found.synthetic.labels, [[[1, 0]] * 2, [[0, 1]] * 2])
    require_same(found, HUB.read(tmp_path / TABLE, TWO))


def test_soft_labels_and_bare_bytes_of_others(tmp_path):
    labels = np.float16([[0.25, 0.75], [1, 0], [0.5, 0.5], [0.75, 0.25]])
    bare = pa.array([png(level) for level in (40, 10, 50, 20)], pa.binary())
    rows = pa.array(list(labels), pa.list_(pa.float16()))
    write_table(tmp_path, image=bare, label=[1, 0, 1, 0], class_id=None, soft_label=rows)
    found = HUB.read(tmp_path, TWO)
    np.testing.assert_array_equal(found.synthetic.labels, labels[[1, 3, 0, 2]].reshape(2, 2, 2))


def test_mosaics_of_others_are_cut_as_is_told(tmp_path):
    decode = Decode(2, 'row', 'unit')
    found = HUB.read(write_table(tmp_path), TWO._replace(decode=decode))
    check(found.synthetic, found.about)
    assert found.synthetic.images.shape == (2, 8, 4, 4, 3)


def test_our_own_table_without_the_exact_numbers(tmp_path):
    HUB.write(soft(), tmp_path)
    for name in ('exact.safetensors', 'recipe.json'):
        (tmp_path / name).unlink()
    found = HUB.read(tmp_path, told(info=INFO))
    np.testing.assert_array_equal(found.about['images_uint8'], soft().about['images_uint8'])
    np.testing.assert_array_equal(found.synthetic.labels, soft().synthetic.labels)
    with pytest.raises(ValueError, match='another data set, or in another order'):
        HUB.read(tmp_path, told(class_names=NAMES[::-1]))


@pytest.mark.parametrize(
    'columns, words',
    [
        ({'class_id': [1, 0, 1, 1]}, "class 'a' has 1 images and class 'b' 3"),
        ({'class_id': [1, 1, 1, 1]}, "class 'a' has 0 images"),
        ({'class_id': [1, 0, 2, 0]}, r'labels must be integers in 0..1, .* got \[0, 1, 2\]'),
        ({'class_id': ['b', 'a', 'b', 'a']}, 'labels must be integers'),
        ({'class_id': None}, 'columns image; expected image, and label or class_id'),
        ({'image': [{'bytes': None, 'path': 'a.png'}] * 4}, 'must hold the bytes of pictures'),
        ({'image': [png(1)[:40]] * 4}, 'picture 0 cannot be read as an image'),
        ({'image': [png(1)] * 3 + [png(1, (5, 4))]}, 'picture 3 has 5x4 pixels, .* first one 4x4'),
        ({'soft_label': [[0.5, 0.5], [1], [0.5, 0.5], [1, 0]]}, 'soft_label must hold 2 numbers'),
        ({'soft_label': [[0.5, 0.4]] * 4}, 'sum to 0.9'),
    ],
)
def test_a_table_that_is_no_set_is_refused(columns, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        HUB.read(write_table(tmp_path, **columns), TWO)


@pytest.mark.parametrize(
    'changes, words',
    [
        ({'space': 'normalised'}, "space is 'unit', got 'normalised'"),
        ({'class_names': ('a', 'b', 'c')}, "class 'c' has 0 images"),
        ({'mean': (0.4, 0.5)}, 'mean has 2 numbers'),
    ],
)
def test_what_does_not_fit_a_table_is_refused(changes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        HUB.read(write_table(tmp_path), TWO._replace(**changes))


@pytest.mark.parametrize(
    'changes, words',
    [
        ({'space': 'unit'}, "space was told to be 'unit', and the file says 'normalised'"),
        ({'class_names': NAMES[::-1]}, 'another data set, or in another order'),
        ({'std': (0.2, 0.25, 0.31)}, 'std was told to be'),
        ({'decode': Decode(2, 'row', 'unit')}, 'decode was told to be .* says None'),
        ({'info': {'method': 'idc'}}, r"info\['method'\] was told to be 'idc'"),
    ],
)
def test_a_recipe_that_says_otherwise_is_refused(changes, words, tmp_path):
    HUB.write(plain(), tmp_path)
    with pytest.raises(ValueError, match=words):
        HUB.read(tmp_path, told(**{'space': 'normalised', **changes}))


def edit(folder, **changes):
    path = folder / 'recipe.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without(folder, name):
    exact = safetensors.load_file(folder / 'exact.safetensors')
    del exact[name]
    safetensors.save_file(exact, folder / 'exact.safetensors')


@pytest.mark.parametrize(
    'make, spoil, words',
    [
        (plain, lambda f: edit(f, std=[0.2, 0.25, 0.3000005]), 'std is .* one of them was changed'),
        (plain, lambda f: edit(f, labels='logits'), "labels is 'logits', and exact.* says 'hard'"),
        (plain, lambda f: edit(f, labels='soft'), "unknown kind of labels 'soft'"),
        (plain, lambda f: edit(f, info=None), 'info of the recipe is None'),
        (plain, lambda f: (f / 'recipe.json').write_text('[]'), 'a recipe is a JSON object'),
        (plain, lambda f: (f / 'recipe.json').unlink(), 'holds exact.* but not recipe.json'),
        (plain, lambda f: (f / 'exact.safetensors').unlink(), 'recipe.json, but not exact'),
        (plain, lambda f: (f / 'exact.safetensors').write_bytes(b'x' * 99), 'as safetensors'),
        (plain, lambda f: without(f, 'images'), 'images are missing'),
        (whitened, lambda f: without(f, 'whitening_eps'), 'whitening lacks whitening_eps'),
    ],
)
def test_a_folder_that_was_changed_is_refused(make, spoil, words, tmp_path):
    HUB.write(make(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=words):
        HUB.read(tmp_path, told('whitened' if make is whitened else 'normalised'))


def test_another_whitening_is_refused(tmp_path):
    HUB.write(whitened(), tmp_path)
    require_same(whitened(), HUB.read(tmp_path, told('whitened', whitening=fitted())))
    other = fitted()._replace(eps=np.float32(0.2))
    with pytest.raises(ValueError, match='whitening was told to be 0.2 '):
        HUB.read(tmp_path, told('whitened', whitening=other))


def test_compensators_are_for_npz_alone(tmp_path):
    about = {**plain().about, 'stored': {'other': np.ones((3, 1), np.float32)}}
    with pytest.raises(ValueError, match='stored as other, which only npz holds'):
        HUB.write(plain()._replace(about=about), tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('package', ['pyarrow', 'safetensors'])
def test_a_missing_package_is_named_before_anything_is_written(package, tmp_path, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    words = rf"needs the package {package}: pip install 'jaxdd\[exchange\]'"
    with pytest.raises(ValueError, match=words):
        HUB.write(plain(), tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match='neither exact.safetensors nor a parquet file'):
        HUB.read(tmp_path, TWO)
    (tmp_path / 'a.parquet').write_bytes(b'PAR1')
    with pytest.raises(ValueError, match='cannot be read as parquet'):
        HUB.read(tmp_path, TWO)
    HUB.write(plain(), tmp_path / 'new')
    (tmp_path / 'new' / 'data' / 'train-1.parquet').write_bytes(b'')
    with pytest.raises(ValueError, match='1 other files, e.g. data/train-1.parquet'):
        HUB.write(plain(), tmp_path / 'new')
