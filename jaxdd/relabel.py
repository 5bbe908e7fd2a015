"""Supervision: which images and labels a student sees."""
import jax

from jaxdd.augment.mixing import Mix
from jaxdd.types import Array, Augment, PRNGKey, Supervision, SyntheticSet


def hard(augment: Augment) -> Supervision:
    """The labels that the synthetic set holds, with every image augmented (DC, DSA, DM, IDM, IDC).

    Args:
        augment: applied to the mini-batch, e.g. `augment.independent(...)`; `augment.identity()` for none.

    Returns:
        `(key, synthetic, indices [b] into the class-major order) -> (images [b, H, W, C], labels [b, Y])`.
    """
    def supervise(key: PRNGKey, synthetic: SyntheticSet, indices: Array) -> tuple[Array, Array]:
        images = synthetic.images.reshape(-1, *synthetic.images.shape[2:])[indices]
        return augment(key, images), synthetic.labels.reshape(-1, synthetic.labels.shape[-1])[indices]

    return supervise


def mixed(supervision: Supervision, mix: Mix) -> Supervision:
    """What another supervision shows, with images and labels mixed within the mini-batch (IDC: CutMix).

    Args:
        supervision: e.g. `hard(...)`.
        mix: `(key, images [b, H, W, C], labels [b, Y]) -> the same`, e.g. `augment.cutmix`.
    """
    def supervise(key: PRNGKey, synthetic: SyntheticSet, indices: Array) -> tuple[Array, Array]:
        k_view, k_mix = jax.random.split(key)
        return mix(k_mix, *supervision(k_view, synthetic, indices))

    return supervise
