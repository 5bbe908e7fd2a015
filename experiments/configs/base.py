"""The configuration's records: every field, its default, its unit. Values of the papers live in the presets."""
import dataclasses

import tyro

from jaxdd.checks import one_of

frozen = dataclasses.dataclass(frozen=True, kw_only=True)


@frozen
class Data:
    """The training set, and how much of it a step sees."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    image_size: int | None = None
    """Pixels; resizes an image folder's images, shorter side then centre crop."""
    per_class: int = 256
    """Real images per class per step."""
    sampling: str = 'random'
    """'random', or 'representative': k-means on the encoder's features chooses each class's batch (DREAM)."""
    cluster_every: int = 10
    """Synthetic-set updates between choices of representatives."""
    feed: str = 'device'
    """'device': the whole set lies on the devices. 'stream': batches come from the host, for sets that do not fit."""


@frozen
class Network:
    """An architecture."""
    name: str = 'convnet'
    """One of the names of jaxdd.models."""
    width: int | None = None
    """Channels of the first block; default: the architecture's own."""
    depth: int | None = None
    """Blocks of a ConvNet; default: 3, less for images under 16 pixels."""


@frozen
class SGD:
    """Stochastic gradient descent on the synthetic set."""
    learning_rate: float = 1.0
    momentum: float = 0.5


@frozen
class Augmentation:
    """One transform for the real and synthetic images of a class (DSA)."""
    strategy: str = 'default'
    """Operations joined by '_', 'none', or 'default': all six, without flip where a mirror image changes the class."""
    mode: str = 'S'
    """'S': one operation per draw. 'M': all of them in order. 'IDC': flip, color and cutout always, one of the rest."""


@frozen
class Matching:
    """What is matched, and how; None: of no use to the method."""
    distance: str | None = None
    """Of gradients: 'layerwise_cosine', 'cosine' or 'squared' (DC, DSA), 'l2' or 'l1' of convolutions (IDC)."""
    ce_weight: float | None = None
    """Of the synthetic images' cross-entropy, per percent of the encoder's accuracy (IDM)."""
    factor: int | None = None
    """Tiles per side of a stored image: factor^2 training images from the memory of one (IDM, IDC)."""
    max_synthetic: int | None = None
    """Most decoded images per class and step (IDC)."""
    classes: str | None = None
    """'sequential': one optimiser step per class, as in the authors' code; 'joint': one on the class sum (IDM, IDC)."""


@frozen
class Training:
    """How the encoder is trained after each synthetic-set update; None: of no use to the method."""
    every: int | None = None
    """Updates that a network serves (DC, DSA: outer loop; IDC), or between new ones of the queue (IDM)."""
    epochs: int | None = None
    """Epochs on the synthetic set (DC, DSA: inner loop)."""
    num_batches: int | None = None
    """Real mini-batches per trained network (IDM, IDC)."""
    batch_size: int | None = None
    """Images."""
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    strategy: str | None = None
    """Augmentation per image: operations joined by '_', 'none', or 'default' for the data set's."""
    cutmix: float | None = None
    """Probability of mixing a mini-batch (IDC)."""
    queue_size: int | None = None
    """Networks in the queue (IDM)."""
    train_count: int | None = None
    """Networks of the queue that are trained after each update (IDM)."""


@frozen
class Regularizer:
    """One plug-in's weight."""
    weight: float | None = None
    """lambda; None: automatic, so that its gradient is `ratio` times the objective's at the start."""
    ratio: float = 0.1
    """Wanted ||lambda grad R|| / ||grad L|| of an automatic weight."""
    source: str = 'not published: automatic scale'
    """Where the weight comes from."""


@frozen
class Regularizers:
    """The plug-ins' weights; they apply to those named in `plugins`."""
    cc: Regularizer = Regularizer()
    """Class centralization (IID)."""
    cc_form: str = 'squared'
    """'squared' as in the authors' code, 'exp_hinge' as in the paper."""
    cm: Regularizer = Regularizer()
    """Local covariance matching (IID)."""
    cmi: Regularizer = Regularizer()
    """Conditional mutual information (CMI)."""


@frozen
class Proxies:
    """The pool of networks trained on real data that CC and CMI read."""
    network: Network = Network(name='resnet18')
    count: int = 20
    """Networks; the papers use 1000, their comments allow 200."""
    epochs: float = 40
    """Passes over the training set per network."""
    batch_size: int = 256
    """Images."""
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-3
    seed: int = 0
    """Of the pool; runs with another `seed` share the pool."""


@frozen
class Evaluation:
    """Students trained from scratch on the distilled set."""
    protocol: str = 'dsa'
    """Sets the fields below: 'dsa' (DSA, DM, IDM, IID), 'dc' (300 epochs, no augmentation), 'idc' or 'quick'."""
    networks: tuple[str, ...] = ('convnet',)
    """Architectures of the students."""
    width: int | None = None
    """Channels of the students' first block; default: the architecture's own."""
    num_seeds: int = 5
    """Students per architecture."""
    epochs: int = 1000
    """E, the last epoch index: E + 1 epochs in all, as in the papers' code (schedule 'idc': E)."""
    batch_size: int = 256
    """Images."""
    learning_rate: float | None = None
    """Default: 0.01, or what the architecture learns with (experiments/students.py)."""
    schedule: str = 'dsa'
    """'dsa': x 0.1 with a new optimiser after epoch E // 2 + 1. 'idc': E epochs in all, x 0.2 at 2/3 and at 5/6."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    strategy: str = 'default'
    """Augmentation of the students' batches, parameters per image: operations, 'none', or the data set's 'default'."""
    mode: str = 'S'
    """As in `augmentation.mode`."""
    cutmix: float = 0.0
    """Probability of mixing a mini-batch."""
    every: int = 0
    """Synthetic-set updates between evaluations on the way; 0: only at the end."""


@frozen
class Config:
    """One run: prepare, distil, evaluate, report."""
    method: tyro.conf.Positional[str]
    """The method."""
    dataset: str = 'cifar10'
    """A data set's name, an .npz file or an image folder."""
    ipc: int = 10
    """Images per class that are stored."""
    plugins: tuple[str, ...] = ()
    """Regularizers: any of cc cm cmi."""
    smoke: bool = False
    """Shrink everything to a test of a few seconds."""
    workdir: str = 'runs/latest'
    """Everything that the run writes; the same command continues what is there."""
    cache_dir: str = '~/.cache/jaxdd'
    """Trained proxies and the random baseline's accuracies, shared between runs."""
    seed: int = 0
    num_steps: int = 20_000
    """Synthetic-set updates; an update is one optimiser step, or one per class where classes go one by one."""
    init: str = 'real'
    """The first synthetic images: 'real' ones at random, or 'noise'."""
    optimizer: SGD = SGD()
    data: Data = Data()
    encoder: Network = Network()
    training: Training = Training()
    matching: Matching = Matching()
    augmentation: Augmentation = Augmentation()
    regularizers: Regularizers = Regularizers()
    proxies: Proxies = Proxies()
    evaluation: Evaluation = Evaluation()
    checkpoint_every: int = 500
    """Synthetic-set updates between checkpoints."""
    keep: int = 2
    """Checkpoints kept."""
    steps_per_call: int | None = None
    """Steps per dispatch; default: 1 on CPUs, 50 on accelerators."""
    num_devices: int | None = None
    """Devices to use; default: all, one per core on a CPU host."""


# What a protocol's name sets; a name is printed with its epochs, so that a changed budget is seen. 'quick' is for smoke
# runs and first looks: its numbers compare with nothing published.
_DSA = {'epochs': 1000, 'num_seeds': 5, 'batch_size': 256, 'schedule': 'dsa', 'strategy': 'default', 'mode': 'S',
        'cutmix': 0.0}
PROTOCOLS = {'dsa': _DSA,
             'dc': {**_DSA, 'epochs': 300, 'strategy': 'none'},
             'idc': {**_DSA, 'batch_size': 64, 'schedule': 'idc', 'strategy': 'flip_color_crop_scale_rotate',
                     'mode': 'IDC', 'cutmix': 0.5},
             'quick': {**_DSA, 'epochs': 100, 'num_seeds': 3}}


def protocol(name: str, evaluation: Evaluation = Evaluation()) -> Evaluation:
    """The evaluation with everything that a protocol's name sets.

    Raises:
        ValueError: an unknown name.
    """
    one_of('evaluation.protocol', name, PROTOCOLS)
    return dataclasses.replace(evaluation, protocol=name, **PROTOCOLS[name])


def smoke(config: Config) -> Config:
    """The same run, as small as it can be: it shows that everything works, not that it learns."""
    def small(network: Network) -> Network:
        return dataclasses.replace(network, width=8)
    shrunk = {'epochs': 1, 'num_batches': 2, 'batch_size': 8, 'queue_size': 4}
    return dataclasses.replace(
        config, smoke=True, num_steps=2, encoder=small(config.encoder),
        training=dataclasses.replace(config.training, **{
            name: value for name, value in shrunk.items() if getattr(config.training, name) is not None}),
        data=dataclasses.replace(config.data, per_class=4),
        proxies=dataclasses.replace(config.proxies, network=small(config.proxies.network), count=1, epochs=0.02,
                                    batch_size=16),
        evaluation=dataclasses.replace(protocol('quick', config.evaluation), epochs=1, num_seeds=2, width=8))


def digits(config: Config) -> Config:
    """The embedded 8x8 digits within a minute on two CPU cores: narrow networks, few steps, few proxies."""
    return dataclasses.replace(
        config, num_steps=300, data=Data(per_class=64), encoder=Network(name='convnet', width=64),
        proxies=Proxies(network=Network(name='convnet', width=32), count=3, epochs=15, batch_size=64),
        evaluation=protocol('quick', Evaluation(width=64)), checkpoint_every=100)
