"""Training a classifier on soft labels."""

import chex
import jax
import jax.numpy as jnp

from jaxdd.types import Array

UNSEEN = -1e9  # the logit of a class that a network does not know; its share of a softmax is 0


def soft_cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy of predictions under labels that are probabilities.

    H = - sum_y labels_y log softmax(logits)_y.

    Args:
        logits: `[..., Y]` predictions before the softmax.
        labels: `[..., Y]` probabilities that sum to 1 over Y; one-hot for hard labels.

    Returns:
        `[...]` in nats: summed over the Y classes, one value per sample, not averaged over samples.
    """
    chex.assert_equal_shape([logits, labels])
    return -jnp.sum(labels * jax.nn.log_softmax(logits, axis=-1), axis=-1)


def soft_label_kl(
    student_logits: Array,
    teacher_logits: Array,
    *,
    temperature: float,
    scale_by_temperature_squared: bool = False,
) -> Array:
    """Divergence of a student's softened prediction from its teacher's.

    KL(p || q) = sum_y p_y (log p_y - log q_y), p = softmax(teacher / T), q = softmax(student / T);
    times T^2 if asked. Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", NIPS
    2014 workshop, https://arxiv.org/abs/1503.02531.

    Args:
        student_logits: `[..., Y]` the student's predictions before the softmax.
        teacher_logits: `[..., Y]` the teacher's; for several teachers or mixed images, the
            (weighted) mean of their logits.
        temperature: T, positive; larger is softer.
        scale_by_temperature_squared: whether to multiply by T^2, which undoes the gradient's 1 /
            T^2.

    Returns:
        `[...]` in nats: summed over the Y classes, one value per sample. The mean over samples is
        torch's `batchmean` reduction.

    Raises:
        ValueError: `temperature` is not positive.

    Note:
        Hinton et al. scale by T^2. SRe2L (ImageNet and CIFAR-100) and INFER
        (https://arxiv.org/abs/2408.06927) do not in their code, hence the default; SRe2L's
        Tiny-ImageNet script does.
    """
    if not temperature > 0:
        raise ValueError(
            f'temperature must be positive, got {temperature}; 1 leaves the logits as they are'
        )
    chex.assert_equal_shape([student_logits, teacher_logits])
    log_p = jax.nn.log_softmax(teacher_logits / temperature, axis=-1)
    log_q = jax.nn.log_softmax(student_logits / temperature, axis=-1)
    divergence = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
    return divergence * temperature**2 if scale_by_temperature_squared else divergence


def remembering_cross_entropy(
    logits: Array,
    labels: Array,
    said: Array,
    *,
    beta: float,
    temperature: float,
) -> Array:
    """Cross-entropy, and the divergence from what a network said before of the classes it knew.

    H(labels, q) + beta T^2 KL(p || q'), p = softmax(said / T) and q' = softmax(logits / T), both
    over the classes that were known before. Castro et al., "End-to-End Incremental Learning" (ECCV
    2018), https://arxiv.org/abs/1807.09623, equation 1; T^2 is that of Hinton, Vinyals & Dean,
    https://arxiv.org/abs/1503.02531.

    Args:
        logits: `[..., Y]` the student's predictions before the softmax.
        labels: `[..., Y]` probabilities.
        said: `[..., Y]` what it predicted before; `UNSEEN` or less of a class that it did not know.
        beta: weight of the divergence; 0 leaves the cross-entropy.
        temperature: T, positive.

    Returns:
        `[...]` in nats, one value per sample.

    Raises:
        ValueError: `temperature` is not positive.
    """
    known = said > UNSEEN / 2
    ours = jnp.where(known, logits, jnp.asarray(UNSEEN, logits.dtype))
    divergence = soft_label_kl(
        ours, said, temperature=temperature, scale_by_temperature_squared=True
    )
    return soft_cross_entropy(logits, labels) + beta * divergence
