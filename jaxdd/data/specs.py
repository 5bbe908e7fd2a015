"""What is known about each data set: one table, and the normalisation that follows from it."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import checks
from jaxdd.types import Array

DIGITS = tuple('0123456789')
CIFAR10 = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
FASHION = (
    'T-shirt/top',
    'Trouser',
    'Pullover',
    'Dress',
    'Coat',
    'Sandal',
    'Shirt',
    'Sneaker',
    'Bag',
    'Ankle boot',
)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Spec(NamedTuple):
    """One data set: its normalisation, its shape and where it is read from.

    Attributes:
        name: how the data set is called here.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
        num_classes: Y.
        image_shape: (H, W, C).
        class_names: Y names in label order; None where they are known only once the data is read (a
            folder's, sorted: a teacher trained elsewhere must count the classes in the same order).
        tfds: its name in TensorFlow Datasets; None for what is embedded or read from files.
        train_split: the split that is distilled.
        test_split: the split that students are tested on.
        flip: whether a horizontal flip keeps the class (it does not for digits).
        zca: identity of the whitening that the images went through (`data.whitened`); None where
            they are pixels.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None
    tfds: str | None
    train_split: str
    test_split: str
    flip: bool
    zca: str | None = None


TABLE = {row.name: row for row in (
    Spec('digits', (0.3056,), (0.3760,), 10, (8, 8, 1), DIGITS, None, 'train', 'test', False),
    Spec('mnist', (0.1307,), (0.3081,), 10, (28, 28, 1), DIGITS, 'mnist', 'train', 'test', False),
    Spec('fashion_mnist', (0.2861,), (0.3530,), 10, (28, 28, 1), FASHION,
         'fashion_mnist', 'train', 'test', True),
    Spec('svhn_cropped', (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), 10, (32, 32, 3),
         DIGITS, 'svhn_cropped', 'train', 'test', False),
    Spec('cifar10', (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 10, (32, 32, 3), CIFAR10,
         'cifar10', 'train', 'test', True),
    Spec('cifar100', (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), 100, (32, 32, 3), None,
         'cifar100', 'train', 'test', True),
    Spec('tiny_imagenet', *IMAGENET, 200, (64, 64, 3), None, None, 'train', 'val', True),
    Spec('imagenette', *IMAGENET, 10, (128, 128, 3), None, None, 'train', 'val', True),
    Spec('imagewoof', *IMAGENET, 10, (128, 128, 3), None, None, 'train', 'val', True),
    *(
        Spec(name, *IMAGENET, 10, (128, 128, 3), None, None, 'train', 'val', True)
        for name in ('imagefruit', 'imageyellow', 'imagemeow', 'imagesquawk')
    ),
    Spec('imagenet10', *IMAGENET, 10, (224, 224, 3), None, None, 'train', 'val', True),
    Spec('imagenet100', *IMAGENET, 100, (224, 224, 3), None, None, 'train', 'val', True),
    Spec('imagenet', *IMAGENET, 1000, (224, 224, 3), None, None, 'train', 'val', True),
)}  # fmt: skip


# What those who publish a data set say about using it, and thus what is made of its images.
LICENCES = {
    'digits': 'CC BY 4.0 (UCI Machine Learning Repository)',
    'mnist': 'CC BY-SA 3.0, as widely stated; the page of the set names none',
    'fashion_mnist': 'MIT',
    'svhn_cropped': 'non-commercial use only',
    'cifar10': 'none stated; its authors ask to cite Krizhevsky (2009)',
    'cifar100': 'none stated; its authors ask to cite Krizhevsky (2009)',
}
IMAGENET_TERMS = "images of ImageNet: non-commercial research and education, by ImageNet's terms"


def licence(name: str) -> str:
    """What is known of the terms of a data set, one sentence; of your own images, that you know."""
    if name in LICENCES:
        return LICENCES[name]
    return IMAGENET_TERMS if name in TABLE else 'known to who has the images'


def spec(name: str) -> Spec:
    """Looks up what is known about a data set.

    The constants are those of DC, DSA and DM (Zhao et al., ICLR 2021,
    https://arxiv.org/abs/2006.05929), so that results can be set beside theirs; those of digits are
    measured on its training half (seed 0).

    Args:
        name: a row of the table: digits, mnist, fashion_mnist, svhn_cropped, cifar10, cifar100,
            tiny_imagenet, imagenette, imagewoof, imagefruit, imageyellow, imagemeow, imagesquawk,
            imagenet10, imagenet100 or imagenet (1k).

    Returns:
        The row.

    Raises:
        ValueError: no such row; lists all of them and names the nearest.

    Note:
        The std of cifar10 is the mean of the images' own deviations, so its normalised pixels
        spread by about 1.2; the papers share this habit, and it is kept. Some papers' code
        normalises cifar100 with cifar10's numbers (IDM, MTT, IDC) or leaves the training images of
        ImageNet-100 as they are (IDM); here every set has its own numbers, for training and for
        testing.
    """
    checks.one_of('data set', name, TABLE)
    return TABLE[name]


def normalise(spec: Spec, images: Any) -> Array:
    """Turns pixels into what networks see: (x / 255 - mean) / std, per channel.

    Works under `jit`, so that the data can stay uint8 on the device until it is used.

    Args:
        spec: the data set's row.
        images: `[..., H, W, C]` uint8; float32 of a whitened set, which come back as they are.

    Returns:
        `[..., H, W, C]` float32.

    Raises:
        ValueError: images of a whitened set that are not float32.
    """
    images = jnp.asarray(images)
    if spec.zca:
        if images.dtype != jnp.float32:
            raise ValueError(
                f'images of a whitened set must be float32 and whitened, got {images.dtype}; '
                'whiten them with data.whitened'
            )
        return images
    chex.assert_type(images, jnp.uint8)
    chex.assert_axis_dimension(images, -1, len(spec.mean))
    mean, std = (jnp.asarray(_per_channel(v, images.ndim)) for v in (spec.mean, spec.std))
    return (images.astype(jnp.float32) / jnp.float32(255) - mean) / std


def denormalise(spec: Spec, images: Any) -> Any:
    """Turns what networks see back into pixels: clip(x * std + mean, 0, 1), per channel.

    Args:
        spec: the data set's row.
        images: `[..., H, W, C]` normalised pixels, a NumPy or a JAX array.

    Returns:
        `[..., H, W, C]` float32 in [0, 1], of the same kind; `(x * 255).round()` fits uint8.
    """
    xp = jnp if isinstance(images, jax.Array) else np
    images = xp.asarray(images, xp.float32)
    chex.assert_axis_dimension(images, -1, len(spec.mean))
    mean, std = (xp.asarray(_per_channel(v, images.ndim)) for v in (spec.mean, spec.std))
    return xp.clip(images * std + mean, 0, 1)


def for_arrays(images: np.ndarray, num_classes: int, name: str) -> Spec:
    """Describes a user's own images; measures mean and std on them.

    Args:
        images: `[N, H, W, C]` uint8 training images.
        num_classes: Y.
        name: what to call the data set.

    Returns:
        A row with the population mean and standard deviation per channel, rounded to four digits,
        no class names, and `flip` False: nobody but the user knows (`spec._replace(flip=True)`).

    Note:
        A channel that never changes has std 0; 1/255 stands in for it, so normalised pixels stay
        finite.
    """
    mean, std = _measure(images)
    return Spec(
        name,
        mean,
        std,
        num_classes,
        tuple(int(s) for s in images.shape[1:]),
        None,
        None,
        'train',
        'test',
        False,
    )


def _measure(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    # A float copy of a large set would not fit; 256 counters per channel are exact and always do.
    counts = np.zeros((images.shape[-1], 256))
    for start in range(0, len(images), 1000):
        for channel, row in enumerate(counts):
            row += np.bincount(images[start : start + 1000, ..., channel].ravel(), minlength=256)
    values, total = np.arange(256) / 255, counts.sum(1)
    mean = counts @ values / total
    var = np.maximum(counts @ values**2 / total - mean**2, 0)
    std = np.maximum(np.sqrt(var), 1 / 255)
    return tuple(float(m) for m in mean.round(4)), tuple(float(s) for s in std.round(4))


def _per_channel(values: tuple[float, ...], rank: int) -> np.ndarray:
    return np.asarray(values, np.float32).reshape((1,) * (rank - 1) + (-1,))
