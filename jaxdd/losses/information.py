"""Information that a feature carries about which image of its class it came from."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.types import Array


def conditional_mutual_information(features: Array) -> Array:
    """Empirical mutual information of image and feature, given the class (CMI).

    I_k = (1/n) sum_s KL(P_s || Q_k) with P_s = softmax(f_s) over the D channels and Q_k = (1/n)
    sum_s P_s. Zhong et al., "Going Beyond Feature Similarity: Effective Dataset Distillation based
    on Class-Aware Conditional Mutual Information", ICLR 2025, https://arxiv.org/abs/2412.09945.

    Args:
        features: `[K, n, D]` penultimate features of the synthetic images, class-major.

    Returns:
        `[K]` in nats, within 0..ln(n): averaged over the n images, one value per class. The paper's
        CMI_emp is its mean over K (all classes have n images). Exactly 0, with zero gradient, for n
        = 1.

    Note:
        The centroid Q is the mean of probabilities, not the softmax of the mean feature. The
        authors' code takes log(mean(softmax)), which is NaN in float32 once a channel underflows
        for a whole class; here log Q is a log-sum-exp and P log P counts as 0 at P = 0. Elsewhere
        both agree, in value and gradient.
    """
    chex.assert_rank(features, 3)
    # The floor keeps 0 * log 0 finite even where the spread of the features overflows.
    floor = float(np.finfo(features.dtype).min) / 4
    log_p = jnp.maximum(jax.nn.log_softmax(features, axis=-1), floor)
    log_q = jax.nn.logsumexp(log_p, axis=1, keepdims=True) - np.log(features.shape[1]).item()
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1), axis=1)
