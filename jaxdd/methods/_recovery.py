"""Recovering images from a trained network:
the objective that SRe2L, its relatives and INFER share."""

import jax.numpy as jnp

from jaxdd.losses import batch_moment_distance, pixel_norm, soft_cross_entropy, total_variation
from jaxdd.terms import named
from jaxdd.types import Observation, PRNGKey, Read, Term


def objective(
    name: str,
    *,
    bn_weight: float,
    first_bn_weight: float = 10.0,
    tv_weight: float = 0.0,
    norm_weight: float = 0.0,
) -> Term:
    """Cross-entropy plus the distance of batch moments to the running ones.

    Image priors are optional.

    mean CE(f(x), y) + r_bn sum_l w_l (||var_l - rv_l|| + ||mean_l - rm_l||) + tv TV(x) + l2 N(x),
    with w = 10 for the first batch-norm layer; norms are not squared. Yin, Xing & Shen, Squeeze,
    Recover and Relabel (SRe2L, NeurIPS 2023), https://arxiv.org/abs/2306.13092; INFER (ICLR 2025),
    https://arxiv.org/abs/2408.06927.

    Reads the encoder, a trained network in test mode, on the augmented synthetic images; the
    moments are those of the whole batch, all classes together. Cross-entropy is a mean over images,
    everything else is a sum as written.

    Args:
        name: of the method, for the metrics `loss/<name>`, `loss/ce` and `loss/bn` (unweighted).
        bn_weight: r_bn; does not carry over to deeper networks, whose sum has more and larger
            terms.
        first_bn_weight: w of the first layer.
        tv_weight, norm_weight: of total variation and of the images' 2-norm; 0 in every published
            command.

    Raises:
        ValueError: a negative weight; when traced, an encoder without batch norm.
    """
    weights = {
        'bn_weight': bn_weight,
        'first_bn_weight': first_bn_weight,
        'tv_weight': tv_weight,
        'norm_weight': norm_weight,
    }
    for field, value in weights.items():
        if not value >= 0:
            raise ValueError(f'{field} must be 0 or more, got {value}')
    read = Read('encoder', 'synthetic')

    def loss(observation: Observation, key: PRNGKey):
        del key
        out = observation.outputs[read]
        ce = jnp.mean(soft_cross_entropy(out.logits, observation.synthetic.labels))
        bn = batch_moment_distance(
            out.moments, observation.networks['encoder'].batch_stats, first_weight=first_bn_weight
        )
        images = observation.images['synthetic', 'augmented']
        images = images.reshape(-1, *images.shape[2:])
        total = ce + bn_weight * bn
        if tv_weight:
            total = total + tv_weight * total_variation(images)
        if norm_weight:
            total = total + norm_weight * pixel_norm(images)
        return total, {'loss/ce': ce, 'loss/bn': bn}

    return named(name, Term(frozenset({read}), loss))
