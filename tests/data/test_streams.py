"""Epochs decoded on the host: which images, in which order, shown how,
and that (key, step) alone decide."""

import itertools
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd import data, models, parallel
from jaxdd.data.prefetch import ahead
from jaxdd.engine import fit, loop
from jaxdd.losses import soft_cross_entropy
from jaxdd.types import Recipe, Source

KEY = jax.random.key(3)
FAKE = data.fake(3, 9, (6, 4, 3))  # 27 images


@pytest.fixture(scope='module')
def jpegs(tmp_path_factory):
    """A lazy data set of 2 classes of 12 JPEGs of 40x48, seen at 16x16."""
    root = data.write_jpeg_folder(
        tmp_path_factory.mktemp('jpegs'), num_classes=2, per_class=12, side=(40, 48)
    )
    return data.load(root, image_size=16, lazy=True)


def taken(stream, count, step=0, key=KEY):
    """The first batches of a stream."""
    batches = stream.start(key, step)
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def same(ours, theirs):
    """Whether two lists of batches agree bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize('batch_size', [5, 9, 100])
def test_the_batches_of_the_device_feed(batch_size):
    feed = jax.jit(data.epochs(FAKE.train, FAKE.spec, batch_size=batch_size))
    for step in (0, 4):
        stream = data.epochs_stream(FAKE.train, FAKE.spec, batch_size=batch_size)
        for at, batch in enumerate(taken(stream, 8, step), step):
            expected = feed(KEY, jnp.int32(at))
            np.testing.assert_allclose(batch.images, expected.images, atol=1e-6)
            np.testing.assert_array_equal(batch.labels, expected.labels)
            np.testing.assert_array_equal(batch.weights, expected.weights)
            assert [x.dtype for x in batch] == [x.dtype for x in expected]


@pytest.mark.parametrize('crop', [None, 'resized'])
def test_key_and_step_alone_decide(jpegs, crop):
    def stream(**options):
        return data.epochs_stream(
            jpegs.train, jpegs.spec, batch_size=5, crop=crop, flip=True, **options
        )

    first = taken(stream(workers=1, prefetch=1), 8)
    same(first, taken(stream(workers=3, prefetch=4), 8))
    same(first[5:], taken(stream(), 3, step=5))
    assert not np.array_equal(first[0].images, taken(stream(), 1, key=jax.random.key(4))[0].images)


def test_the_images_of_files_are_those_of_the_array(jpegs):
    memory = Source(jpegs.train.images[:], jpegs.train.labels)
    same(
        *(taken(data.epochs_stream(s, jpegs.spec, batch_size=7), 4) for s in (jpegs.train, memory))
    )


def test_crops_are_cut_from_the_file_at_its_own_resolution(image_folder):
    board = np.repeat((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, -1)
    root = image_folder(
        {f'{half}/{name}/1.png': board for half in ('train', 'val') for name in 'ab'}
    )
    dataset = data.load(root, image_size=8, lazy=True)
    views = [
        next(
            data.host_batches(
                KEY, 0, source, dataset.spec, batch_size=2, crop='resized', scale=(0.015, 0.017)
            )
        )
        for source in (dataset.train, Source(dataset.train.images[:], dataset.train.labels))
    ]
    # 1/64 of the board are about 8x8 of its squares, blurred where not just 8;
    # of its thumbnail, which is grey, a pixel
    assert views[0].images.std() > 30 and views[1].images.std() < 1


def test_every_image_and_every_epoch_has_its_own_crop():
    source = Source(
        np.tile(np.arange(256).astype(np.uint8).reshape(1, 16, 16, 1), (6, 1, 1, 1)),
        np.arange(6, dtype=np.int32) % 2,
    )
    spec = data.for_arrays(source.images, 2, 'ramps')
    batches = data.host_batches(KEY, 0, source, spec, batch_size=6, crop='resized')
    views = np.concatenate([next(batches).images for _ in range(3)]).reshape(18, -1)
    batches.close()
    assert views.shape == (18, 256) and len({view.tobytes() for view in views}) == 18


def test_grey_arrays_are_cropped_too():
    made = data.fake(2, 4, (6, 8, 1))
    batch = next(
        data.host_batches(
            KEY, 2, made.train, made.spec, batch_size=8, crop='resized', scale=(0.5, 1.0)
        )
    )
    assert batch.images.shape == (8, 6, 8, 1) and batch.images.dtype == np.uint8
    assert 20 < batch.images.std() < 90


@pytest.mark.parametrize(
    'flip, spec_flip, crop, mirrors',
    [
        (True, False, None, True),
        (None, True, None, False),
        (None, True, 'resized', True),
        (None, False, 'resized', False),
        (False, True, 'resized', False),
    ],
)
def test_when_images_are_mirrored(flip, spec_flip, crop, mirrors):
    ramp = np.broadcast_to(np.arange(0, 240, 30, dtype=np.uint8).reshape(1, 1, 8, 1), (64, 8, 8, 1))
    source = Source(ramp, np.arange(64, dtype=np.int32) % 2)
    spec = data.for_arrays(ramp, 2, 'ramps')._replace(flip=spec_flip)
    images = taken(data.epochs_stream(source, spec, batch_size=64, crop=crop, flip=flip), 1)[
        0
    ].images
    falling = np.asarray(images)[:, 0, 0, 0] > np.asarray(images)[:, 0, -1, 0]
    assert 20 <= falling.sum() <= 44 if mirrors else not falling.any()


def test_each_process_decodes_its_rows(jpegs):
    def batch(rows):
        batches = data.host_batches(
            KEY, 1, jpegs.train, jpegs.spec, batch_size=8, crop='resized', rows=rows
        )
        found = next(batches)
        batches.close()
        return found

    whole, halves = (
        batch(None),
        [batch(parallel.process_rows(8, [0, 0, 1, 1], process)) for process in (0, 1)],
    )
    np.testing.assert_array_equal(whole.images, np.concatenate([half.images for half in halves]))
    for half in halves:
        same(half[1:], whole[1:])


def test_eight_devices_get_what_one_gets(jpegs):
    stream = data.epochs_stream(jpegs.train, jpegs.spec, batch_size=16, crop='resized', flip=True)
    alone = taken(stream, 2)
    with parallel.use(parallel.mesh(8)):
        together = taken(stream, 2)
        assert together[0].images.sharding.shard_shape(together[0].images.shape) == (2, 16, 16, 3)
        odd = taken(data.epochs_stream(jpegs.train, jpegs.spec, batch_size=5), 1)[0]
        assert odd.images.shape == (5, 16, 16, 3)
    for ours, theirs in zip(together, alone):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)


@pytest.mark.parametrize(
    'network', ['convnet_bn', pytest.param('resnet18_bn', marks=pytest.mark.long)]
)
def test_a_network_trains_on_a_stream_and_resumes_bit_for_bit(jpegs, network):
    model = models.by_name(network, jpegs.spec.image_shape, 2, width=4, batch_statistics=True)
    recipe = Recipe(optax.sgd(0.05, momentum=0.9), 5, 6, soft_cross_entropy)
    step = fit.make_fit_step(model, recipe)
    stream = data.epochs_stream(jpegs.train, jpegs.spec, batch_size=6, crop='resized')
    start, losses = jax.jit(lambda: fit.init_fit(KEY, model, recipe))(), []
    keep = loop.Callback(1, lambda state, done, metrics: losses.extend(metrics['loss/train']))
    whole = loop.run(step, start, stream, num_steps=5, callbacks=[keep])
    part = loop.run(step, start, stream, num_steps=2, callbacks=[keep])
    resumed = loop.run(step, part, stream, num_steps=5, callbacks=[keep])
    same(
        whole._replace(key=jax.random.key_data(whole.key)),
        resumed._replace(key=jax.random.key_data(resumed.key)),
    )
    assert losses[:5] == losses[5:] and int(whole.variables.age) == 5


def test_a_damaged_file_stops_the_stream_by_name(tmp_path):
    root = data.write_jpeg_folder(tmp_path, num_classes=2, per_class=3, side=16)
    (root / 'train' / 'class00001' / '00002.jpg').write_bytes(b'no image')
    train = data.read_folder(root, image_size=8, lazy=True).train
    spec = data.fake(2, image_shape=(8, 8, 3)).spec
    with pytest.raises(ValueError, match='class00001/00002.jpg: cannot be read as an image'):
        taken(data.epochs_stream(train, spec, batch_size=3), 2)


@pytest.mark.parametrize(
    'wrong, message',
    [
        ({'batch_size': 0}, 'batch_size must be at least 1, got 0'),
        ({'prefetch': 0}, 'prefetch must be at least 1'),
        ({'workers': 0}, 'workers must be at least 1, got 0'),
        ({'crop': 'resize'}, "unknown crop 'resize'.*'resized'"),
        ({'scale': (0.5, 0.2)}, r'0 < least <= largest <= 1, got \(0.5, 0.2\)'),
        ({'scale': (0, 1)}, r'got \(0, 1\)'),
    ],
)
def test_what_cannot_be_streamed_is_refused_at_once(wrong, message):
    with pytest.raises(ValueError, match=message):
        data.epochs_stream(FAKE.train, FAKE.spec, **{'batch_size': 4, **wrong})


def test_work_is_done_ahead_and_in_order():
    started = []
    batches = ahead(lambda at: started.append(at) or at * at, 3, 2)
    assert next(batches) == 9
    end = time.monotonic() + 5
    while len(started) < 3 and time.monotonic() < end:
        time.sleep(0.001)
    assert started == [3, 4, 5] and list(itertools.islice(batches, 3)) == [16, 25, 36]
    batches.close()


@pytest.mark.parametrize(
    'owners, size, rows',
    [
        ([0], 4, [[0, 1, 2, 3]]),
        ([0, 0, 1, 1], 8, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ([0, 1, 0, 1], 8, [[0, 1, 4, 5], [2, 3, 6, 7]]),
        ([2, 0, 1], 6, [[2, 3], [4, 5], [0, 1]]),
        ([0, 0, 1, 1], 6, [[0, 1, 2, 3, 4, 5]] * 2),
    ],
)
def test_rows_follow_the_devices(owners, size, rows):
    for process, expected in enumerate(rows):
        np.testing.assert_array_equal(parallel.process_rows(size, owners, process), expected)


@pytest.mark.parametrize('axis', [0, 1])
def test_rows_are_assembled_as_split_divides(axis):
    x = np.arange(48.0).reshape(16, 3) if axis == 0 else np.arange(48.0).reshape(3, 16)
    np.testing.assert_array_equal(parallel.own_rows(16), np.arange(16))
    np.testing.assert_array_equal(parallel.assemble(x, 16, axis), x)
    with parallel.use(parallel.mesh(8)):
        np.testing.assert_array_equal(parallel.own_rows(16), np.arange(16))
        whole = parallel.assemble(x, 16, axis)
        assert whole.sharding == parallel.shard(jnp.asarray(x), axis).sharding
        assert parallel.assemble(x[:, :3][:3], 3, axis).sharding.is_fully_replicated
    np.testing.assert_array_equal(whole, x)


PROCESS = """
import sys
import jax
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 2)
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
import numpy as np
from jaxdd import data, parallel
dataset, read = data.load(sys.argv[3], image_size=16, lazy=True), []
crop, whole = data.FolderImages.crop, data.FolderImages.read
data.FolderImages.crop = lambda images, i, *rest: read.append(i) or crop(images, i, *rest)
data.FolderImages.read = lambda images, i: read.append(i) or whole(images, i)
total = jax.jit(lambda x: (x * jax.numpy.arange(x.size).reshape(x.shape)).sum())
with parallel.use(parallel.mesh()):
    key, train, spec = jax.random.key(3), dataset.train, dataset.spec
    epochs = data.epochs_stream(train, spec, batch_size=8, crop='resized', flip=True, prefetch=1).start(key, 5)
    print('sum', float(np.asarray(total(next(epochs).images))))
    epochs.close()
    print('read', len(read) <= 3 * 4)
    both = data.with_minibatches(data.streamed(train, spec, per_class=4), train, spec, num_batches=2,
                                 batch_size=8).start(key, 5)
    inputs = next(both)
    print('sum', float(np.asarray(total(inputs.real))))
    print('sum', float(np.asarray(total(inputs.mixed.images))))
    both.close()
"""  # noqa: E501


@pytest.mark.long
def test_two_processes_feed_what_one_feeds(jpegs):
    with socket.socket() as free:
        free.bind(('localhost', 0))
        address = f'localhost:{free.getsockname()[1]}'
    commands = [
        [sys.executable, '-c', PROCESS, address, str(i), jpegs.train.images.root] for i in range(2)
    ]
    running = [
        subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    spoken = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], spoken
    kwargs = {'num_batches': 2, 'batch_size': 8}
    crops = taken(
        data.epochs_stream(jpegs.train, jpegs.spec, batch_size=8, crop='resized', flip=True), 1, 5
    )[0].images
    inputs = taken(
        data.with_minibatches(
            data.streamed(jpegs.train, jpegs.spec, per_class=4), jpegs.train, jpegs.spec, **kwargs
        ),
        1,
        5,
    )[0]
    expected = [
        float((x * jnp.arange(x.size).reshape(x.shape)).sum())
        for x in (crops, inputs.real, inputs.mixed.images)
    ]
    for out, _ in spoken:
        lines = [line.split() for line in out.splitlines() if line.startswith(('sum', 'read'))]
        np.testing.assert_allclose(
            [float(value) for word, value in lines if word == 'sum'], expected, rtol=1e-3
        )
        assert ['read', 'True'] in lines
