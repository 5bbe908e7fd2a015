"""AdamW and per-epoch cosine schedules."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

WARMUP_START = 0.01  # fraction of the learning rate in the first epoch of a warm-up


def cosine(
    learning_rate: float,
    num_epochs: int,
    steps_per_epoch: int,
    *,
    warmup_epochs: int = 0,
    half: bool = False,
) -> optax.Schedule:
    """A learning rate that falls along a cosine and changes once per epoch.

    lr (1 + cos(pi e / E)) / 2 in epoch e = 0, 1, ..., E - 1, as torch's CosineAnnealingLR. SRe2L
    (NeurIPS 2023, https://arxiv.org/abs/2306.13092), its Tiny-ImageNet script with a warm-up: lr
    (0.01 + 0.99 e / W) for e < W, then the cosine with e - W and E - W.

    Args:
        learning_rate: lr, the largest.
        num_epochs: E, warm-up included; it stays at its last value from then on.
        steps_per_epoch: updates in one epoch, see `data.steps_per_epoch`.
        warmup_epochs: W.
        half: end at lr / 2, half way along the cosine, as RDED (CVPR 2024,
            https://arxiv.org/abs/2312.03526) in its code and SRe2L's successors do: E counts twice.

    Returns:
        number of updates before this one (int) -> learning rate, float32.

    Raises:
        ValueError: no epoch, no step, or a warm-up that is negative or leaves no epoch.
    """
    for name, value in (('num_epochs', num_epochs), ('steps_per_epoch', steps_per_epoch)):
        if value < 1:
            raise ValueError(f'{name} must be at least 1, got {value}')
    if not 0 <= warmup_epochs < num_epochs:
        raise ValueError(
            f'warmup_epochs must be between 0 and {num_epochs - 1}, one less than all epochs, got '
            f'{warmup_epochs}; train for more epochs or warm up for fewer'
        )
    falling = num_epochs - warmup_epochs
    period = 2 * falling if half else falling

    # an integer of any kind; optax's own type allows complex numbers
    def schedule(count: Any) -> jax.Array:
        epoch = jnp.minimum(count // steps_per_epoch, num_epochs)
        warm = WARMUP_START + (1 - WARMUP_START) * epoch / max(warmup_epochs, 1)
        # (1 + cos x) / 2 = sin^2((pi - x) / 2), without the cancellation at x = pi.
        cold = jnp.sin(0.5 * jnp.pi * (period - (epoch - warmup_epochs)) / period) ** 2
        return learning_rate * jnp.where(epoch < warmup_epochs, warm, cold)

    return schedule


def adamw(
    learning_rate: float | optax.Schedule, *, weight_decay: float = 0.01, decay_all: bool = True
) -> optax.GradientTransformation:
    """AdamW as the soft-label papers use it:
    betas 0.9 and 0.999, eps 1e-8, decay times learning rate.

    Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
    https://arxiv.org/abs/1711.05101, algorithm 2, with the decay multiplied by the learning rate as
    in torch.

    Args:
        learning_rate: constant, or number of updates before -> rate.
        weight_decay: per unit of learning rate.
        decay_all: of every parameter (the CIFAR scripts of SRe2L and INFER), or only of those with
            more than one dimension, norms and biases left alone (the ImageNet scripts of SRe2L and
            RDED).
    """

    def several_dimensions(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.adamw(
        learning_rate,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        weight_decay=weight_decay,
        mask=None if decay_all else several_dimensions,
    )
