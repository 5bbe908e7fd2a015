"""Label sets of fast knowledge distillation: what was shown is shown again, in torch's files."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdd import losses, models, optimizers
from jaxdd.engine.evaluate import Student, evaluate
from jaxdd.labels import fkd, relabel
from jaxdd.storage.atomic import write_whole
from jaxdd.types import Recipe, Source, SyntheticSet

KEY = jax.random.key(3)
TEACHER = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
WEIGHTS = TEACHER.init(jax.random.key(7))
IMAGES = jax.random.normal(jax.random.key(0), (3, 3, 8, 8, 3))
SYNTHETIC = SyntheticSet(IMAGES, jnp.repeat(jnp.eye(3)[:, None], 3, axis=1))
ORDER = fkd.orders(9, 4, 2)  # two epochs of 4 + 4 + 1
Case = collections.namedtuple('Case', 'store shown')


@pytest.fixture(
    scope='module',
    params=['cutmix', 'mixup', pytest.param('none', marks=pytest.mark.long)],
)
def case(request):
    how = {
        'cutmix': fkd.Mixing(),
        'mixup': fkd.Mixing(cutmix=None, mixup=0.8),
        'none': fkd.Mixing(cutmix=None, flip=False),
    }[request.param]
    store = fkd.record(KEY, SYNTHETIC, [TEACHER], [WEIGHTS], order=ORDER, how=how)
    show = jax.jit(fkd.supervision(store), static_argnums=3)
    return Case(store, [show(jax.random.key(1), step, SYNTHETIC, 4) for step in range(7)])


def test_every_epoch_shows_every_image_once_in_torchs_order():
    assert ORDER.shape == (2, 3, 4)
    for epoch in ORDER:
        assert sorted(epoch[epoch >= 0]) == list(range(9))
        np.testing.assert_array_equal((epoch >= 0).sum(1), [4, 4, 1])
    sampler = torch.utils.data.RandomSampler(
        range(9), generator=torch.Generator().manual_seed(fkd.SEED)
    )
    for epoch in ORDER:  # its state goes on
        np.testing.assert_array_equal(epoch[epoch >= 0], list(sampler))


def test_labels_are_the_teachers_verdict_on_what_is_shown(case):
    for step, batch in enumerate(case.shown[:6]):
        left = int(batch.weights.sum())
        expected = relabel.mean_logits((TEACHER,), (WEIGHTS,), batch.images)
        np.testing.assert_allclose(batch.labels[:left], expected[:left], atol=2e-3)
        assert left == (1 if step % 3 == 2 else 4)
    assert np.isnan(case.shown[6].labels).all()  # beyond the recorded ones


def test_unmixed_images_are_crops_of_their_own(case):
    plain = case.store._replace(
        lam=np.ones_like(case.store.lam),
        box=np.zeros_like(case.store.box),
        crop=np.broadcast_to(np.float32([0, 0, 1, 1]), case.store.crop.shape),
        flip=np.zeros_like(case.store.flip),
    )
    batch = fkd.supervision(plain)(KEY, jnp.int32(1), SYNTHETIC, 4)
    np.testing.assert_allclose(
        batch.images, IMAGES.reshape(9, 8, 8, 3)[ORDER[0, 1]], rtol=0, atol=1e-6
    )


def test_files_are_read_as_they_were_written(case, tmp_path):
    fkd.write(tmp_path, case.store)
    found = fkd.read(tmp_path, ORDER, 3)
    for name, one, other in zip(fkd.Store._fields, case.store, found):
        real = case.store.order >= 0
        if one.ndim >= 3 and name not in ('order', 'box'):
            one, other = one[real], other[real]
        np.testing.assert_array_equal(one, other, err_msg=name)
    parts = torch.load(tmp_path / 'epoch_1' / 'batch_2.tar', weights_only=True)
    assert len(parts) == 6 and parts[0].shape == (1, 4) and parts[5].dtype == torch.float16


def numpys(store, epoch, place):
    """A file as the authors' program writes it: lambda and box are NumPy's numbers."""
    crop, flip, partner, lam, box, logits = (part[epoch, place] for part in store[1:])
    left = int((store.order[epoch, place] >= 0).sum())
    return [
        torch.from_numpy(crop[:left].copy()),
        torch.from_numpy(flip[:left].copy()),
        torch.from_numpy(partner[:left].astype(np.int64)),
        np.float64(lam),
        [np.int64(edge) for edge in box] if box.any() else None,
        torch.from_numpy(logits[:left].copy()),
    ]


def test_files_with_numpys_numbers_are_read(case, tmp_path):
    for epoch, place in np.ndindex(2, 3):
        path = tmp_path / f'epoch_{epoch}' / f'batch_{place}.tar'
        path.parent.mkdir(exist_ok=True)
        torch.save(numpys(case.store, epoch, place), path)
    found = fkd.read(tmp_path, ORDER, 3)
    np.testing.assert_array_equal(found.box, case.store.box)
    np.testing.assert_allclose(found.lam, case.store.lam)


class Evil:
    def __reduce__(self):
        return print, ('this code ran',)


@pytest.mark.parametrize(
    'change, message',
    [
        (None, 'epoch_1/batch_0.tar is not there; .* train for fewer'),
        (b'nonsense', 'batch_0.tar cannot be read'),
        (Evil(), 'batch_0.tar cannot be read'),
        ([1, 2], 'must hold crops, flips, partners, lambda, box, logits'),
        ((0, torch.zeros(3, 4)), r'crops must be \(4, 4\), got \(3, 4\)'),
        ((5, torch.zeros(4, 7)), r'logits must be \(4, 3\), got \(4, 7\)'),
        ((5, torch.full((4, 3), torch.nan)), 'logits finite numbers'),
        ((2, torch.zeros(4, dtype=torch.int64)), 'partners must be a permutation'),
        ((1, torch.zeros(2)), 'flips and partners must be 4 numbers'),
    ],
)
def test_a_file_that_is_none_is_named(case, change, message, tmp_path, capsys):
    fkd.write(tmp_path, case.store)
    path = tmp_path / 'epoch_1' / 'batch_0.tar'
    if change is None:
        path.unlink()
    elif isinstance(change, bytes):
        write_whole(path, change)
    elif isinstance(change, tuple):
        parts = numpys(case.store, 1, 0)
        parts[change[0]] = change[1]
        torch.save(parts, path)
    else:
        torch.save(change, path)
    with pytest.raises(ValueError, match=message):
        fkd.read(tmp_path, ORDER, 3)
    assert 'this code ran' not in capsys.readouterr().out


def test_students_train_on_them_and_other_batches_are_refused(case):
    recipe = Recipe(
        optimizers.sgd(0.05), 6, 4, lambda s, t: losses.soft_label_kl(s, t, temperature=4)
    )
    test = Source(np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 3)
    student = Student(TEACHER, fkd.supervision(case.store), recipe)
    prepare = lambda images: images.astype(jnp.float32)
    found = evaluate(KEY, SYNTHETIC, test, student, num_seeds=1, preprocess=prepare)
    assert 0 <= found.mean <= 1
    with pytest.raises(ValueError, match='mini-batches of 4 images, the training has 3'):
        fkd.supervision(case.store)(KEY, 0, SYNTHETIC, 3)
    wide = SYNTHETIC._replace(labels=jnp.zeros((3, 3, 5)))
    with pytest.raises(ValueError, match='labels of 3 classes were recorded, .* has 5'):
        fkd.supervision(case.store)(KEY, 0, wide, 4)


def test_labels_that_half_precision_cannot_hold_are_refused():
    loud = WEIGHTS._replace(params=jax.tree.map(lambda x: 1e6 * x, WEIGHTS.params))
    with pytest.raises(ValueError, match='not all finite as float16'):
        fkd.record(KEY, SYNTHETIC, [TEACHER], [loud], order=ORDER)
