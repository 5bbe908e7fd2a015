"""The records that the whole library is written against; no logic.

Shape alphabet, used in every docstring:
    K classes in this batch · n synthetic images per class after decoding · B real images per class
    · H W C image · Y classes of the data set · D feature width · P spatial positions · S
    network-training steps · b mixed batch · N any batch.

Class-major layout `[K, n, ...]` makes class conditionals a reduction over axis 1, gives static
shapes and makes per-class images independent under `vmap`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jax
import optax

Array = jax.Array
PRNGKey = jax.Array
PyTree = Any
Metrics = dict[str, Array]
Weight = float | optax.Schedule
T = TypeVar('T')


class Moments(NamedTuple):
    """First and second moment of one batch-norm layer's input, over every image and position."""

    mean: Array  # [D]
    var: Array  # [D] biased
    # Values behind each entry: images x positions (torch's running variance needs it). The field
    # hides a method of tuples that nobody calls here, and its name is public.
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]


class Outputs(NamedTuple):
    """One network on one batch `[N, ...]`; the engine folds it to `[K, m, ...]`."""

    logits: Array  # [K, m, Y]
    features: Array  # [K, m, D]  penultimate, flattened (the psi of DM)
    maps: Array  # [K, m, P, D]  last spatial map (IID's local features)
    # per batch-norm layer a `Moments` of THIS batch (global across devices); {} without
    moments: PyTree


class Variables(NamedTuple):
    """One network's weights."""

    params: PyTree
    batch_stats: PyTree  # running moments of batch-norm layers; {} without
    age: Array  # int32, optimiser steps taken
    accuracy: Array  # float32, running training accuracy, fraction in [0, 1]


class Model(NamedTuple):
    """An architecture with its batch-norm mode fixed."""

    init: Callable[[PRNGKey], Variables]
    apply: Callable[[Variables, Array], Outputs]  # images [N, H, W, C]


class SyntheticSet(NamedTuple):
    """What a student, a checkpoint and a reader see."""

    images: Array  # [K, n, H, W, C] float32, normalised by data.specs
    labels: Array  # [K, n, Y] probabilities, or teachers' logits (relabel.static)
    learning_rate: Array | None = None  # scalar, of the students; where it is learned (MTT)


class Expert(NamedTuple):
    """A segment of a training trajectory."""

    start: PyTree
    target: PyTree


class Batch(NamedTuple):
    """One mini-batch for training a classifier."""

    images: Array  # [b, H, W, C] normalised
    labels: Array  # [b, Y] probabilities, or teachers' logits
    weights: Array  # [b] 1 for an image, 0 for the padding of a short last batch


class Candidates(NamedTuple):
    """The whole training set, for methods that choose their real images themselves."""

    images: Array  # [N, H, W, C] uint8
    members: Array  # [Y, M] int32 indices of each class's images, short rows filled with -1


class Inputs(NamedTuple):
    """Everything one distillation step receives from outside; None = not supplied."""

    real: Array | None = None  # [K, B, H, W, C] class-stratified, normalised
    mixed: Batch | None = None  # leaves [S, b, ...]: for training encoders
    expert: Expert | None = None
    pretrained: Mapping[str, Variables] = {}  # role -> network drawn from a pool
    candidates: Candidates | None = None  # what `real` was drawn from
    # [K, B] 1 for an image of `real`, 0 for its repetition; None: all 1
    real_weights: Array | None = None


class Stream(NamedTuple, Generic[T]):
    """A feed from the host, for sets that do not fit on the devices.

    It resumes from (key, step) alone.
    """

    start: Callable[[PRNGKey, int], Iterator[T]]  # `Inputs` to distil, a `Batch` to train on


# pure (key, step) -> inputs; a `jax.tree_util.Partial` over its arrays
DeviceFeed = Callable[[PRNGKey, Array], T]
Feed = DeviceFeed[T] | Stream[T]


class Read(NamedTuple):
    """One forward pass that a term looks at (role '' = the images themselves)."""

    role: str  # 'encoder' | 'proxy' | ''
    data: str  # 'real' | 'synthetic'
    view: str = 'augmented'  # 'raw' | 'augmented'
    every: int = 1  # computed at multiples of so many steps, 0 between (`terms.at_every`)


class Observation(NamedTuple):
    """What terms may look at, assembled once per step."""

    outputs: Mapping[Read, Outputs]  # the declared passes, each computed once
    images: Mapping[tuple[str, str], Array]  # (data, view) -> [K, m, H, W, C]
    synthetic: SyntheticSet
    networks: Mapping[str, Variables]
    inputs: Inputs
    step: Array
    classes: Array | None = None  # [K] int32, which classes these are


class Term(NamedTuple):
    """A summand of the loss: base objective or regularizer, no difference."""

    reads: frozenset[Read]
    loss: Callable[[Observation, PRNGKey], tuple[Array, Metrics]]  # scalar


class Parametrization(NamedTuple):
    """How stored parameters become images."""

    # (params: moved by optax, fixed: not)
    init: Callable[[PRNGKey, SyntheticSet], tuple[PyTree, PyTree]]
    decode: Callable[[PyTree, PyTree], SyntheticSet]
    project: Callable[[PyTree, PyTree], PyTree]  # (params, fixed): back into the pixel box
    # what students see, where it is not what is matched
    shown: Callable[[PyTree, PyTree], SyntheticSet] | None = None
    # whether every leaf has a row per class, from which alone that class is decoded
    by_class: bool = False


class Networks(NamedTuple):
    """Decides which network measures each step, and may replace the step's real images."""

    init: Callable[[PRNGKey], PyTree]
    # this step's encoder and inputs
    sample: Callable[[PyTree, PRNGKey, Inputs], tuple[Variables | None, Inputs]]
    update: Callable[[PyTree, PRNGKey, Inputs, SyntheticSet], PyTree]  # with the sampled inputs


Augment = Callable[[PRNGKey, Array], Array]  # (key, [m, H, W, C]) -> same


class Curriculum(NamedTuple):
    """An augmentation that changes in the course of a run."""

    at: Callable[[Array], Augment]  # step -> the augmentation of that step


# (key, step, synthetic, batch size) -> mini-batch number `step` of a training, whose key is
# constant. A function, or a `jax.tree_util.Partial` over the arrays it needs: teachers' weights,
# recorded labels.
Supervision = Callable[[PRNGKey, Array, SyntheticSet, int], Batch]


class Method(NamedTuple):
    """A distillation method: a preset of the axes."""

    parametrization: Parametrization
    objective: Term
    networks: Networks
    models: Mapping[str, Model]  # role -> architecture
    augment: Augment | Curriculum
    classes: Literal['joint', 'sequential'] = 'joint'
    # an augmentation per class, or one for all images of a step
    draws: Literal['class', 'step'] = 'class'
    # a step's metrics -> whether it moves anything (DATM); None: every step does
    accepts: Callable[[Metrics], Array] | None = None
    # most synthetic images per class that a step looks at, a new random choice each; None: all
    looks_at: int | None = None
    project_every: int = 1  # steps after which stored parameters return to their box


class DistillState(NamedTuple):
    """The whole run; what a checkpoint saves."""

    step: Array  # int32, synthetic-set updates done
    key: PRNGKey
    params: PyTree
    fixed: PyTree
    opt_state: PyTree
    networks: PyTree


class Recipe(NamedTuple):
    """How a classifier is trained."""

    optimizer: optax.GradientTransformation
    num_steps: int  # optimiser updates
    batch_size: int  # images
    loss: Callable[[Array, Array], Array]  # (logits [b, Y], labels [b, Y]) -> [b]


class Accuracy(NamedTuple):
    """Test accuracy over seeds, fractions in [0, 1]."""

    mean: float
    std: float  # population standard deviation (ddof 0), the papers' convention
    per_seed: tuple[float, ...]


class Source(NamedTuple):
    """A labelled image set in memory."""

    images: Any  # [N, H, W, C] uint8
    labels: Any  # [N] int32 in 0..Y-1
