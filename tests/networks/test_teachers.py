"""Teachers: squeezed and resumed, kept with their card, tried on real images before use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import data, losses, models, optimizers
from jaxdd.engine import loop
from jaxdd.networks import teachers
from jaxdd.storage.fingerprint import Store
from jaxdd.types import Batch, Recipe, Source

DATASET = data.fake()
TRAINING = models.by_name('convnet_bn', (8, 8, 3), 3, width=8, depth=1, batch_statistics=True)
NET = models.by_name('convnet_bn', (8, 8, 3), 3, width=8, depth=1)
RECIPE = Recipe(optimizers.sgd(0.1, momentum=0.9), 30, 16, losses.soft_cross_entropy)
NAMES = ('ant', 'bee', 'cow')


def squeezed(folder, **options):
    feed = data.epochs(DATASET.train, DATASET.spec, batch_size=16)
    return teachers.squeeze(
        jax.random.key(0),
        TRAINING,
        feed,
        RECIPE,
        store=Store(folder, {'a': 1}),
        control=loop.Control(**options),
    )


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    spec = DATASET.spec
    return teachers.Teacher(
        'convnet_bn',
        NET,
        squeezed(tmp_path_factory.mktemp('t')),
        NAMES,
        tuple(spec.mean),
        tuple(spec.std),
        3,
    )


def spec(**changes):
    return DATASET.spec._replace(class_names=NAMES, **changes)


def relabelled(order):
    """The data with its classes numbered otherwise."""
    return Source(DATASET.train.images, np.asarray(order)[DATASET.train.labels].astype(np.int32))


def test_a_stopped_squeeze_continues_and_ends_the_same(tmp_path):
    whole, taken = squeezed(tmp_path / 'whole'), []
    count = loop.Callback(1, lambda state, at, _: taken.append(at))
    assert (
        squeezed(tmp_path / 'stopped', callbacks=[count], should_stop=lambda: len(taken) == 12)
        is None
    )
    resumed = squeezed(tmp_path / 'stopped', callbacks=[count])
    assert taken == list(range(1, 31))
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    jax.tree.map(
        np.testing.assert_array_equal, squeezed(tmp_path / 'whole', should_stop=lambda: True), whole
    )


def test_a_teacher_comes_back_with_its_card(teacher, tmp_path):
    teachers.save(tmp_path / 't', teacher._replace(accuracy=0.5))
    found = teachers.load(tmp_path / 't', lambda name, num_classes: NET)
    assert found._replace(model=None, variables=None) == teacher._replace(
        model=None, variables=None, accuracy=0.5
    )
    jax.tree.map(np.testing.assert_array_equal, found.variables, teacher.variables)


def test_a_teacher_of_classes_without_names_comes_back(teacher, tmp_path):
    teachers.save(tmp_path / 't', teacher._replace(class_names=()))
    asked = []
    found = teachers.load(
        tmp_path / 't', lambda name, num_classes: asked.append(num_classes) or NET
    )
    assert asked == [3] == [found.num_classes] and found.class_names == ()
    teachers.require_fitting(found, DATASET.spec)
    with pytest.raises(ValueError, match='knows 3 classes, the data fake has 4'):
        teachers.require_fitting(found, DATASET.spec._replace(num_classes=4))


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'holds no teacher'),
        ('{', 'card.json is damaged'),
        ('{"name": "convnet_bn"}', 'no checksum'),
        ('[]', 'no checksum'),
    ],
)
def test_a_folder_without_a_teacher_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'card.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        teachers.load(tmp_path, lambda name, num_classes: NET)


@pytest.mark.parametrize(
    'old, new', [('0.5', '0.9'), ('"num_classes": 3', '"num_classes": 2'), ('ant', 'ent')]
)
def test_a_card_on_which_something_has_changed_is_not_believed(teacher, tmp_path, old, new):
    teachers.save(tmp_path, teacher._replace(accuracy=0.5))
    card = tmp_path / 'card.json'
    card.write_text(card.read_text().replace(old, new, 1))
    with pytest.raises(
        ValueError, match='card.json is damaged or no record of this program: its checksum says'
    ):
        teachers.load(tmp_path, lambda name, num_classes: NET)


def test_a_card_without_its_network_is_refused(teacher, tmp_path):
    teachers.save(tmp_path, teacher)
    (tmp_path / 'network').rename(tmp_path / 'gone')
    with pytest.raises(ValueError, match='a card.json but no network'):
        teachers.load(tmp_path, lambda name, num_classes: NET)


def test_as_many_images_are_told_as_were_tried():
    assert teachers.num_validated(DATASET.train, DATASET.spec) == len(DATASET.train.labels) == 60
    digits = data.load('digits')
    assert teachers.num_validated(digits.train, digits.spec) == 10 * 100


def test_its_accuracy_is_that_on_real_images(teacher):
    measured = teachers.validate(teacher, DATASET.train, spec())
    logits = NET.apply(teacher.variables, data.normalise(DATASET.spec, DATASET.train.images)).logits
    members, per_class = data.class_members(DATASET.train, 3, 333)
    chosen = members[:, :per_class].ravel()
    assert measured == pytest.approx(
        float((logits.argmax(-1) == DATASET.train.labels)[chosen].mean())
    )
    assert measured > 0.8


def test_another_class_order_is_refused_by_its_predictions(teacher):
    nameless = teacher._replace(class_names=())
    with pytest.raises(ValueError, match='if its classes were in another order'):
        teachers.validate(nameless, relabelled([1, 2, 0]), spec())


def test_a_teacher_of_these_very_images_has_their_class_order_however_little_it_has_learnt(teacher):
    assert (
        teachers.validate(teacher._replace(class_names=()), relabelled([1, 2, 0]), spec(), own=True)
        < 0.5
    )


def test_few_images_per_class_are_judged_by_the_recorded_accuracy(teacher):
    labels = np.asarray(DATASET.train.labels)
    few = np.concatenate([np.flatnonzero(labels == c)[:4] for c in range(3)])
    source = Source(DATASET.train.images[few], relabelled([1, 2, 0]).labels[few])
    nameless = teacher._replace(class_names=())
    # nothing is recorded, and 4 images prove nothing
    assert teachers.validate(nameless, source, spec()) < 0.5
    with pytest.raises(ValueError, match='its record says 95.0%'):
        teachers.validate(nameless._replace(accuracy=0.95), source, spec())


def test_an_untrained_teacher_is_not_taken_for_a_misnumbered_one():
    fresh = teachers.Teacher(
        'convnet_bn',
        NET,
        NET.init(jax.random.key(3)),
        NAMES,
        DATASET.spec.mean,
        DATASET.spec.std,
        3,
    )
    assert 0 <= teachers.validate(fresh, DATASET.train, spec()) <= 1


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'class_names': ('ant', 'cow', 'bee')}, "class 1 is 'bee' for it and 'cow' in"),
        ({'class_names': NAMES + ('dog',), 'num_classes': 4}, 'knows 3 classes, the data .* has 4'),
        ({'mean': (0.1, 0.1, 0.1)}, 'was trained on images with mean'),
        ({'std': (0.9, 0.9, 0.9)}, 'use the same mean and std for both'),
        ({'zca': '0.1 a'}, r'without whitening, those of fake are whitened by ZCA \(0.1 a\)'),
    ],
)
def test_a_teacher_of_other_data_is_refused(teacher, changes, message):
    with pytest.raises(ValueError, match=message):
        teachers.require_fitting(
            teacher, DATASET.spec._replace(**{'class_names': NAMES, **changes})
        )


def test_a_whitened_teacher_comes_back_and_fits_its_own_whitening_only(teacher, tmp_path):
    teachers.save(tmp_path / 't', teacher._replace(zca='0.1 a'))
    found = teachers.load(tmp_path / 't', lambda name, num_classes: NET)
    assert found.zca == '0.1 a'
    teachers.require_fitting(found, spec(zca='0.1 a'))
    with pytest.raises(ValueError, match=r'whitened by ZCA \(0.1 a\), .* are without whitening'):
        teachers.require_fitting(found, spec())
    with pytest.raises(ValueError, match=r'those of fake are whitened by ZCA \(0.1 b\)'):
        teachers.require_fitting(found, spec(zca='0.1 b'))


def test_the_card_of_a_teacher_without_whitening_is_as_before_there_was_one(teacher, tmp_path):
    teachers.save(tmp_path / 't', teacher)
    assert 'zca' not in (tmp_path / 't' / 'card.json').read_text()
    assert teachers.load(tmp_path / 't', lambda name, num_classes: NET).zca is None


def test_augmented_batches_follow_from_key_and_step():
    feed = teachers.with_augmentation(
        data.epochs(DATASET.train, DATASET.spec, batch_size=8),
        lambda key, images: images + jax.random.uniform(key, images.shape),
    )
    first, again, later = (feed(jax.random.key(0), jnp.int32(step)) for step in (3, 3, 4))
    streamed = teachers.with_augmentation(
        data.epochs_stream(DATASET.train, DATASET.spec, batch_size=8),
        lambda key, images: images + jax.random.uniform(key, images.shape),
    )
    stream = streamed.start(jax.random.key(0), 3)
    for batch in (first, later):
        np.testing.assert_allclose(next(stream).images, batch.images, atol=1e-6)
    np.testing.assert_array_equal(first.images, again.images)
    assert np.abs(first.images - later.images).max() > 0.1 and first.labels.shape == (8, 3)


def test_mixed_batches_follow_from_key_and_step():
    def swapped(key, images, labels):
        return images + jax.random.normal(key), labels[::-1]

    def counted(key, step):
        del key
        return Batch(jnp.full((2, 1, 1, 1), step, jnp.float32), jnp.eye(2), jnp.ones(2))

    feed = teachers.with_mixing(counted, swapped)
    shifts = [float(feed(jax.random.key(0), at).images[0, 0, 0, 0]) - at for at in (0, 1, 1)]
    assert shifts[1] == shifts[2] != shifts[0]
    np.testing.assert_array_equal(feed(jax.random.key(0), 0).labels, np.eye(2)[::-1])
