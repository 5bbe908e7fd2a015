"""The multi-layer perceptron of the evaluation pools."""

import flax.linen as nn

from jaxdd.models.layers import at_least_float32, classifier
from jaxdd.models.precision import of_body
from jaxdd.types import Array


class MLP(nn.Module):
    """Multi-layer perceptron: two hidden layers with ReLU, then one linear layer.

    The weakest network in the cross-architecture pool of Zhao, Mopuri and Bilen, ICLR 2021,
    https://arxiv.org/abs/2006.05929 (DC). 411,146 parameters at 32x32x3, Y = 10.

    Attributes:
        num_classes: Y.
        width: units of each hidden layer.
        batch_statistics: without effect: there is no batch norm.
        dtype: of the hidden layers, e.g. 'bfloat16'; None = that of images and parameters.

    Note:
        There is no spatial map: `maps` are the features, as one position. Images are flattened in
        the order H, W, C; torch's are C, H, W.
    """

    num_classes: int
    width: int = 128
    batch_statistics: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """Classifies normalised `[N, H, W, C]`:
        `[N, Y]` logits, `[N, D]` features, the same as maps `[N, 1, D]`."""
        x = images.reshape(len(images), -1)
        for i in range(2):
            x = nn.relu(nn.Dense(self.width, dtype=of_body(self.dtype), name=f'dense{i}')(x))
        features = at_least_float32(x)
        return classifier(features, self.num_classes), features, features.reshape(len(x), 1, -1)
