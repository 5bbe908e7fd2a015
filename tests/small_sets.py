"""Distilled sets small enough to look at, of every kind that a form may hold."""

import numpy as np

from jaxdd import whitening
from jaxdd.exchange.forms import Artifact, Decode, Told, assemble

NAMES = ('tabby cat', 'dog/wolf', 'größe')
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)
INFO = {'method': 'dm', 'dataset': 'pets', 'seed': 3}


def told(space='unit', **changes):
    """What is known of every set here."""
    return Told(space, NAMES, MEAN, STD)._replace(**changes)


def pixels(count=2, seed=0):
    """Pixels in [0, 1] that are no grey levels, `[3, count, 4, 4, 3]`."""
    return np.random.default_rng(seed).random((3, count, 4, 4, 3), np.float32)


def plain(**changes):
    """Whole images with hard labels; some pixels lie outside [0, 1], as distilled ones do."""
    images = (1.2 * pixels() - 0.1 - np.float32(MEAN)) / np.float32(STD)
    return assemble(images, None, told('normalised', info=INFO, **changes))


def mosaics(space='unit', order='row'):
    """One mosaic of four per class."""
    images = pixels(1) if space == 'unit' else (pixels(1) - np.float32(MEAN)) / np.float32(STD)
    return assemble(images, None, told(space, decode=Decode(2, order, space), info=INFO))


def soft(logits=False):
    """Labels of a teacher."""
    found = plain()
    labels = np.random.default_rng(1).normal(size=(3, 2, 3)).astype(np.float32)
    if not logits:
        labels = np.exp(labels) / np.exp(labels).sum(-1, keepdims=True)
    return found._replace(synthetic=found.synthetic._replace(labels=labels))


def learned():
    """A set with a learning rate of its own."""
    found = plain()
    return found._replace(synthetic=found.synthetic._replace(learning_rate=np.float32(0.0123)))


def fitted():
    """A whitening of images 4 x 4 x 3."""
    images = np.random.default_rng(2).integers(0, 256, (60, 4, 4, 3), np.uint8)
    how = whitening.fit(images)
    return how._replace(
        **{name: np.asarray(value, np.float32) for name, value in how._asdict().items()}
    )


def whitened():
    """Whitened images."""
    how = fitted()
    return assemble(
        whitening.whiten(how, pixels()), None, told('whitened', whitening=how, info=INFO)
    )


def both(first: Artifact, second: Artifact):
    """Every pair of arrays of two sets, by name."""
    for name, array in first.synthetic._asdict().items():
        yield name, array, getattr(second.synthetic, name)
    assert first.about.keys() == second.about.keys()
    for name, value in first.about.items():
        if name == 'whitening':
            yield from zip(value._fields, value, second.about[name])
        else:
            yield name, value, second.about[name]


def require_same(first: Artifact, second: Artifact):
    """Fails where two sets differ in a bit."""
    for name, one, other in both(first, second):
        if isinstance(one, dict):
            assert one == other, name
        elif one is not None:
            one, other = np.asarray(one), np.asarray(other)
            assert one.dtype == other.dtype and one.tobytes() == other.tobytes(), name
        else:
            assert other is None, name


KINDS = {
    'plain': (plain, told('normalised')),
    'mosaics': (mosaics, told('unit')),
    'normalised mosaics': (
        lambda: mosaics('normalised', 'column'),
        told('normalised', decode=Decode(2, 'column', 'normalised')),
    ),
    'probabilities': (soft, told('normalised')),
    'logits': (lambda: soft(logits=True), told('normalised')),
    'learned rate': (learned, told('normalised')),
    'whitened': (whitened, told('whitened')),
}
