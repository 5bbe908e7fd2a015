"""The configuration's records: every field, its default, its unit, its range.

Values of the papers live in the methods.
"""

import re
from typing import Annotated, Any, ClassVar

import tyro

from experiments.configs.decoupled import Recover as Recover
from experiments.configs.decoupled import Teachers as Teachers
from experiments.configs.evaluation import Architecture as Architecture
from experiments.configs.evaluation import Evaluation as Evaluation
from experiments.configs.plugins import PLUGINS, Regularizers
from experiments.configs.rules import (
    Amount,
    Count,
    Momentum,
    Number,
    Positive,
    Rule,
    Seed,
    Text,
    choice,
    choices,
)
from experiments.configs.rules import frozen as frozen
from jaxdd.coresets.selection import RULES as CORESETS
from jaxdd.models.convnet import ACTIVATIONS, POOLINGS
from jaxdd.models.norms import NORMS
from jaxdd.models.precision import PRECISIONS

PRECISION = choice(*PRECISIONS)
Address = Annotated[
    str, Rule('ADDRESS:PORT', lambda value: bool(re.fullmatch(r'[^\s:]\S*:\d+', value)))
]
Machine = Annotated[
    str,
    Rule(
        "'here', or a target such as v5e:2x4",
        lambda value: bool(re.fullmatch(r'here|\w+:\d+(x\d+)*', value)),
    ),
]
# Normalisation is of pixels in [0, 1]: a deviation below a quarter of a grey level or above 1 is a
# mistake.
Mean = Annotated[
    float,
    Rule(
        'numbers from 0 to 1, one per channel, of pixels in [0, 1]', lambda value: 0 <= value <= 1
    ),
]
Deviation = Annotated[
    float,
    Rule(
        'numbers from 0.001 to 1, one per channel, of pixels in [0, 1]',
        lambda value: 1e-3 <= value <= 1,
    ),
]


@frozen
class Data:
    """The training set, and how much of it a step sees."""

    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    classes: tuple[Number, ...] = ()
    """Only these classes, numbered anew in this order; default: all."""
    image_size: Count | None = None
    """Pixels; resizes an image folder's images, shorter side then centre crop."""
    lazy: bool | None = None
    """Leave an image folder on disk and decode what a step needs;
    default: where it takes more than 4 GiB decoded."""
    resize: choice('square', 'stretched', 'margin') = 'square'
    """Of an image folder: 'square', the shorter side and a centre crop; 'stretched', both sides;
    'margin', 256/224."""
    mean: tuple[Mean, ...] | None = None
    """Normalisation per channel, of pixels in [0, 1]; default: the data set's own.
    To use a teacher's."""
    std: tuple[Deviation, ...] | None = None
    """As `mean`."""
    zca: bool = False
    """Whiten the images (ZCA) instead of normalising them; up to 64x64 pixels."""
    per_class: Count = 256
    """Real images per class per step; of a class with fewer, all that it has."""
    feed: choice('device', 'stream') = 'device'
    """'device': the whole set lies on the devices.
    'stream': batches come from the host, for sets that do not fit."""


@frozen
class MatchedData(Data):
    """The training set of a method that matches real batches."""

    sampling: choice('random', 'representative') = 'random'
    """'random', or 'representative': k-means on the encoder's features chooses each class's batch
    (DREAM)."""
    cluster_every: Count = 10
    """Synthetic-set updates between choices of representatives."""


@frozen
class Network:
    """An architecture."""

    name: Architecture = 'convnet'
    """One of the names of jaxdd.models."""
    width: Count | None = None
    """Channels of the first block; default: the architecture's own."""
    depth: Count | None = None
    """Blocks of a ConvNet; default: 3, less for images under 16 pixels."""
    norm: choice(*NORMS) | None = None
    """Of a ConvNet; default: what its name says, 'instance' of 'convnet'."""
    activation: choice(*ACTIVATIONS) | None = None
    """Of a ConvNet; default: 'relu'."""
    pooling: choice(*POOLINGS) | None = None
    """Of a ConvNet; default: 'avg'."""
    features_after: Count | None = None
    """Blocks of a ConvNet behind which features and maps are read; default: all."""


@frozen
class Optimizer:
    """What moves the synthetic set."""

    name: choice('sgd', 'adam') = 'sgd'
    """'sgd', or 'adam' (eps 1e-8)."""
    learning_rate: Positive = 1.0
    momentum: Momentum = 0.5
    """Of 'sgd'; b1 of 'adam'."""
    b2: Momentum = 0.9
    """Of 'adam'."""
    schedule: choice('constant', 'cosine') = 'constant'
    """'constant', or 'cosine': to 0 over the steps of a chunk."""


@frozen
class Augmentation:
    """One transform for the real and synthetic images of a class (DSA)."""

    strategy: Text = 'default'
    """Operations joined by '_', 'none', or 'default': all six,
    without flip where a mirror image changes the class."""
    mode: choice('S', 'M', 'IDC') = 'S'
    """'S': one operation per draw. 'M': all of them in order.
    'IDC': flip, color and cutout always, one of the rest."""


@frozen
class Training:
    """How the encoder is trained after each synthetic-set update."""

    batch_size: Count
    """Images; a smaller set is one batch."""
    learning_rate: Positive
    momentum: Momentum
    weight_decay: Amount


@frozen
class Proxies:
    """The pool of networks trained on real data that CC and CMI read."""

    network: Network = Network(name='resnet18')
    count: Count = 20
    """Networks; the papers use 1000, their comments allow 200."""
    every: Count = 1
    """Synthetic-set updates that a drawn proxy serves. CMI's code keeps it in DC and DSA for an
    outer iteration (10 updates at 10 images per class, 50 at 50)."""
    pixels: choice('normalised', 'unit') = 'normalised'
    """What they judge: images as they were trained on, or ('unit') pixels in [0, 1], which CMI's
    code shows them beside IDC."""
    epochs: Positive = 40
    """Passes over the training set per network."""
    batch_size: Count = 256
    """Images; a smaller set is one batch."""
    learning_rate: Positive = 0.01
    momentum: Momentum = 0.9
    weight_decay: Amount | None = None
    """Default: IID's 5e-4 where CC alone reads the proxies, else CMI's 1e-3."""
    seed: Seed = 0
    """Of the pool; runs with another `seed` share the pool."""


@frozen
class Hosts:
    """Several processes that compute one program. What a scheduler says of them (TPU pods, Slurm,
    GKE) needs no option."""

    coordinator: Address | None = None
    """ADDRESS:PORT of process 0."""
    num_processes: Count | None = None
    """How many there are."""
    process_id: Number | None = None
    """Which one this is, from 0."""
    patience: Positive = 30.0
    """Seconds without a sign of life after which a process counts as gone, and the others end."""


@frozen
class Config:
    """One run: prepare, distil, evaluate, report."""

    method: tyro.conf.Positional[Text]
    """The method."""
    dataset: Text = 'cifar10'
    """A data set's name, an .npz file or an image folder."""
    ipc: Count = 10
    """Images per class that are stored."""
    plugins: choices(*PLUGINS) = ()
    """Regularizers."""
    smoke: bool = False
    """Shrink everything to a test of a few seconds."""
    workdir: Text = 'runs/latest'
    """Everything that the run writes; the same command continues what is there."""
    cache_dir: Text = '~/.cache/jaxdd'
    """Trained proxies and the random baseline's accuracies, shared between runs."""
    seed: Seed = 0
    init_path: str | None = None
    """Of init 'given': an .npz file with images and labels, or a folder with one folder of images
    per class, named as the data set's classes; the first of each class are taken."""
    num_sets: Count = 1
    """Distilled sets, from `seed` on one seed each; accuracies are over the students of all of them
    (the papers: 5 sets)."""
    num_steps: Count = 20_000
    """Synthetic-set updates; an update is one optimiser step,
    or one per class where classes go one by one."""
    optimizer: Optimizer = Optimizer()
    data: Data = Data()
    teachers: Teachers = Teachers()
    regularizers: Regularizers = Regularizers()
    proxies: Proxies = Proxies()
    evaluation: Evaluation = Evaluation()
    checkpoint_every: Count = 500
    """Synthetic-set updates between checkpoints."""
    keep: Count = 2
    """Checkpoints kept."""
    steps_per_call: Count | None = None
    """Steps per dispatch; default: 5 on CPUs, 50 on accelerators."""
    num_devices: Count | None = None
    """Devices to use; default: all, one per core on a CPU host."""
    precision: PRECISION | None = None
    """Of what networks compute before their last layer; default: 'bf16' on accelerators, 'f32' on
    CPUs."""

    transfer_guard: choice('log', 'disallow') | None = None
    """What to do where something moves unasked between host and devices while steps are taken;
    default: nothing."""
    hosts: Hosts = Hosts()
    estimate: Machine | None = None
    """Print what the run will need, and end: 'here', or on a target of experiments.compiled."""
    tensorboard: bool = False
    """Write TensorBoard's scalars and pictures beside history.jsonl; needs tensorboardX."""
    profile: Count | None = None
    """Trace so many steps of the distillation for a profiler, after the first dispatch."""

    entry: ClassVar[Any]  # `entry.Entry`: what the method is, beside its options
    # images are recovered from teachers, in chunks, not matched with real batches
    recovers: ClassVar[bool]
    matches_real: ClassVar[bool]  # the base method looks at real images in every step
    boxed: ClassVar[bool] = False  # what is stored are pixels in [0, 1]


@frozen
class Matched(Config):
    """A run that matches real batches, step by step."""

    init: choice('real', 'noise', 'uniform', 'given', *CORESETS) = 'real'
    """The first synthetic images: 'real' ones at random, 'noise' (normal, around the mean colour),
    'uniform' noise of pixels in [0, 1], those of `init_path`, or a core-set (as in
    `evaluation.coresets`)."""
    data: MatchedData = MatchedData()
    encoder: Network = Network()
    augmentation: Augmentation = Augmentation()

    recovers = False
    matches_real = True

    @property
    def made_with(self) -> Network:
        """The network whose width and depth the images are made with."""
        return self.encoder


@frozen
class Recovered(Config):
    """A run that recovers images from teachers, in independent chunks."""

    init: choice('real', 'noise', 'rded', 'given', *CORESETS) = 'noise'
    """The first synthetic images: 'noise', 'real' ones at random, 'rded': its mosaics of realistic
    crops, those of `init_path`, or a core-set (as in `evaluation.coresets`)."""
    recover: Recover

    recovers = True
    matches_real = False
    boxed = True

    @property
    def made_with(self) -> Teachers:
        """The networks whose width and depth the images are made with."""
        return self.teachers

    @property
    def classes_per_chunk(self) -> int | None:
        """Classes that are recovered together; None: all."""
        return None
