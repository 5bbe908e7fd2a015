"""How teachers are squeezed and images recovered from them: the fields of both stages."""

from experiments.configs.evaluation import Architecture
from experiments.configs.rules import (
    Amount,
    Count,
    Fraction,
    Momentum,
    Number,
    Positive,
    Seed,
    choice,
    frozen,
)


@frozen
class Recover:
    """How images are recovered from a teacher, in independent chunks."""

    bn_weight: Amount
    """Of the batch-norm moments; INFER's alpha."""
    first_bn_weight: Amount
    """Of the first layer within them."""
    tv_weight: Amount
    """Of total variation."""
    norm_weight: Amount
    """Of the images' 2-norm."""
    jitter: Number
    """Pixels; the batch is rolled by up to this much."""
    curriculum: choice('cosine', 'linear', 'step') = 'cosine'
    """How the least area of a crop falls, where `crop` is 'curriculum'."""
    milestone: Fraction = 1.0
    """When it has fallen, as a share of the steps."""
    verifier: Architecture | None = None
    """A network that is squeezed like the teachers and classifies the images on the way; its
    accuracy is in the history. It changes nothing."""
    both_signs: bool
    """Roll in both directions (SRe2L on Tiny-ImageNet)."""
    crop: choice('none', 'resized', 'curriculum')
    """'none', 'resized': a random-resized crop and flip of the batch,
    or 'curriculum': from global to local (CDA)."""
    images_per_chunk: Count
    """Images per class that are recovered together;
    CC and CMI compare these, so they need 2 or more."""
    part: Count | None = None
    """Most images of a chunk that are in memory at a time, per device: exact, slower; default: all.
    The last part may be smaller."""
    together: Count | None = None
    """Chunks as one program; default: 8 on accelerators, 1 on CPUs and for images above 64
    pixels."""
    storage: choice('exact', 'uint8', 'jpeg')
    """'exact', 'uint8' (rounded down, as the authors'), or 'jpeg' (quality 75, as the authors'
    files). Of INFER 'exact' keeps natural images as uint8 and compensators as float16; the others
    are the authors' copies of all."""


@frozen
class Teachers:
    """Networks that are squeezed from the real set, recovered from, and label (SRe2L, INFER)."""

    networks: tuple[Architecture, ...] = ()
    """Names of jaxdd.models with batch norm; SRe2L takes one."""
    width: Count | None = None
    """Channels of the first block; default: the architecture's own."""
    depth: Count | None = None
    """Blocks of teachers that are ConvNets; default: 3, less for images under 16 pixels."""
    epochs: Positive = 200
    """Passes over the training set; longer squeezing makes recovery harder."""
    batch_size: Count = 128
    """Images; a smaller set is one batch."""
    learning_rate: Positive = 0.1
    """Falls to 0 along a cosine, stepped per epoch."""
    momentum: Momentum = 0.9
    weight_decay: Amount = 5e-4
    warmup_epochs: Number = 0
    strategy: choice('none', 'padded-crop-flip', 'resized-crop-flip') = 'padded-crop-flip'
    """Augmentation: 'padded-crop-flip' or 'resized-crop-flip'."""
    weights: tuple[str, ...] = ()
    """One file (.pth, .safetensors; torchvision's names) or teacher folder per network,
    instead of squeezing."""
    checkpoint_every: Count = 1000
    """Steps between checkpoints of a squeeze."""
    seed: Seed = 0
    """Of the teachers; runs with another `seed` share them."""
