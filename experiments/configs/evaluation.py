"""How students are trained on a distilled set and tested: the fields of an evaluation."""

from experiments.configs import protocols
from experiments.configs.pools import POOLS
from experiments.configs.rules import (
    Amount,
    Count,
    Fraction,
    Momentum,
    Number,
    Positive,
    Probability,
    Text,
    choice,
    choices,
    frozen,
    name_of,
)
from jaxdd.coresets.selection import RULES as CORESETS
from jaxdd.models import NAMES
from jaxdd.models.convnet import ACTIVATIONS, POOLINGS
from jaxdd.models.norms import NORMS

Architecture = name_of(NAMES)


@frozen
class Evaluation:
    """Students trained from scratch on the distilled set."""

    protocol: name_of((*protocols.PROTOCOLS, *protocols.ALIASES)) = 'dsa'
    """Sets the fields below: 'dsa' or 'dsa-1000' (DSA, DM, IID), 'idm', 'dc' or 'dc-hard' (300
    epochs, no augmentation), 'dc-mnist' and 'dc-batchnorm' (DC's own augmentation), 'idc',
    'idc-imagenet', 'quick', or one of the soft-label protocols: sre2l, sre2l-tiny, sre2l-imagenet,
    srel-fkd (stored labels), infer (or infer-static), infer-tiny, infer-imagenet; the last three
    also with -dynamic."""
    networks: tuple[Architecture, ...] = ('convnet',)
    """Architectures of the students."""
    pool: choice(*POOLS) | None = None
    """Sets `networks` to those that DC's evaluation modes M, B, W, D, N, A and P test together."""
    width: Count | None = None
    """Channels of the students' first block; default: the architecture's own."""
    depth: Count | None = None
    """Blocks of students that are ConvNets;
    default: those of the encoder (SRe2L, INFER: of the teachers)."""
    norm: choice(*NORMS) | None = None
    """Of students that are ConvNets and whose names leave it open; default: 'instance'."""
    activation: choice(*ACTIVATIONS) | None = None
    """Likewise; default: 'relu'."""
    pooling: choice(*POOLINGS) | None = None
    """Likewise; default: 'avg'."""
    num_seeds: Count = 5
    """Students per architecture."""
    epochs: Number = 1000
    """E, the last epoch index: E + 1 epochs in all, as in the papers' code (schedules 'idc',
    'cosine' and 'linear': E)."""
    batch_size: Count = 256
    """Images; a smaller set is one batch."""
    labels: choice('hard', 'static', 'dynamic', 'replayed', 'stored') = 'hard'
    """'hard'; 'static': teachers' logits on the clean images; 'dynamic': on every mixed batch;
    'replayed': dynamic ones that were recorded once, with their key (FKD); 'stored': those of
    `label_store`."""
    label_store: str | None = None
    """Of 'stored' labels: a folder of FKD's files (epoch_<e>/batch_<i>.tar), as SRe2L's authors
    publish them; where it is not there, the teachers' labels are recorded into it. Needs torch."""
    temperature: Positive | None = None
    """Of the teachers' and the students' softmax; soft labels need it."""
    squared_temperature: bool = False
    """Multiply the soft-label loss by temperature^2."""
    label_dtype: choice('float16', 'float32') = 'float16'
    """Of stored logits: 'float16' or 'float32'."""
    label_top_k: Count | None = None
    """Logits kept per recorded label; default: all."""
    optimizer: choice('sgd', 'adamw') = 'sgd'
    """'sgd' or 'adamw'."""
    accumulate: Count = 1
    """Mini-batches whose mean gradient is one update: `batch_size` times as many images, in the
    memory of `batch_size`. Batch norm sees one mini-batch at a time."""
    learning_rate: Positive | None = None
    """Default: 0.01, or what the architecture learns with (experiments/stages/students.py)."""
    schedule: choice('dsa', 'idc', 'cosine', 'linear') = 'dsa'
    """'dsa': x 0.1 with a new optimiser after epoch E // 2 + 1. 'idc': E epochs in all, x 0.2 at
    2/3 and at 5/6. 'cosine', 'linear': E epochs in all, to 0, stepped per epoch."""
    warmup_epochs: Number = 0
    """Of 'cosine' and 'linear'."""
    momentum: Momentum = 0.9
    weight_decay: Amount = 5e-4
    decay_all: bool = True
    """Of 'adamw': decay biases and norms too."""
    strategy: Text = 'default'
    """Augmentation of the students' batches, parameters per image: operations, 'none',
    the data set's 'default', 'padded-crop-flip', 'resized-crop-flip', 'resized-crop-flip-color'
    (colour jitter and lighting), or DC's 'coarse-crop-scale-rotate' and 'coarse-crop-noise'."""
    mode: choice('S', 'M', 'IDC') = 'S'
    """As in `augmentation.mode`."""
    crop_scale: Fraction = 0.08
    """Of resized crops: least area of a crop, as a share of the image's."""
    cutmix: Probability = 0.0
    """Probability of mixing a mini-batch."""
    cutmix_alpha: Positive = 1.0
    """Of CutMix: lambda ~ Beta(alpha, alpha)."""
    mixup: Amount = 0.0
    """alpha of mixup; 0: none."""
    coresets: choices(*CORESETS) = ()
    """Core-sets that are scored beside the random images: 'herding', 'k-center' or 'k-means', in
    the features of the first teacher where the run has one, else of the first proxy."""
    full_accuracy: Fraction | None = None
    """Test accuracy of the first architecture after training on all real images with hard labels, a
    fraction, where you know it: HLR and LRS compare with it. Nothing depends on it but those."""
    every: Number = 0
    """Synthetic-set updates between evaluations on the way; 0: only at the end."""
