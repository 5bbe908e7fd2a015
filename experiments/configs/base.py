"""The configuration's records: every field, its default, its unit. Values of the papers live in the presets."""
import dataclasses

import tyro

frozen = dataclasses.dataclass(frozen=True, kw_only=True)


@frozen
class Data:
    """The training set, and how much of it a step sees."""
    data_dir: str | None = None
    """Folder of the prepared data sets; default: TensorFlow Datasets' own."""
    image_size: int | None = None
    """Pixels; resizes an image folder's images, shorter side then centre crop."""
    lazy: bool | None = None
    """Leave an image folder on disk and decode what a step needs; default: where it takes more than 4 GiB decoded."""
    resize: str = 'square'
    """Of an image folder: 'square', the shorter side and a centre crop; 'stretched', both sides; 'margin', 256/224."""
    mean: tuple[float, ...] | None = None
    """Normalisation per channel, of pixels in [0, 1]; default: the data set's own. To use a teacher's."""
    std: tuple[float, ...] | None = None
    """As `mean`."""
    per_class: int = 256
    """Real images per class per step; of a class with fewer, all that it has."""
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
class Optimizer:
    """What moves the synthetic set."""
    name: str = 'sgd'
    """'sgd', or 'adam' (eps 1e-8)."""
    learning_rate: float = 1.0
    momentum: float = 0.5
    """Of 'sgd'; b1 of 'adam'."""
    b2: float = 0.9
    """Of 'adam'."""
    schedule: str = 'constant'
    """'constant', or 'cosine': to 0 over the steps of a chunk."""


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
class Recover:
    """How images are recovered from a teacher, in independent chunks (SRe2L, INFER); None: of no use to the method."""
    bn_weight: float | None = None
    """Of the batch-norm moments; INFER's alpha."""
    first_bn_weight: float | None = None
    """Of the first layer within them."""
    tv_weight: float | None = None
    """Of total variation."""
    norm_weight: float | None = None
    """Of the images' 2-norm."""
    jitter: int | None = None
    """Pixels; the batch is rolled by up to this much."""
    both_signs: bool | None = None
    """Roll in both directions (SRe2L on Tiny-ImageNet)."""
    crop: str | None = None
    """'none', 'resized': a random-resized crop and flip of the batch, or 'curriculum': from global to local (CDA)."""
    classes_per_chunk: int | None = None
    """Classes that are recovered together (SRe2L; INFER takes all)."""
    images_per_chunk: int | None = None
    """Images per class that are recovered together; CC and CMI compare these, so they need 2 or more."""
    part: int | None = None
    """Most images of a chunk that are in memory at a time, per device: exact, slower; default: all. The last part may
    be smaller."""
    together: int | None = None
    """Chunks as one program; default: 8 on accelerators, 1 on CPUs and for images above 64 pixels."""
    storage: str | None = None
    """'exact', 'uint8' (rounded down, as the authors'), or 'jpeg' (quality 75, as the authors' files). Of INFER
    'exact' keeps natural images as uint8 and compensators as float16; the others are the authors' copies of all."""


@frozen
class Teachers:
    """Networks that are squeezed from the real set, recovered from, and label (SRe2L, INFER)."""
    networks: tuple[str, ...] = ()
    """Names of jaxdd.models with batch norm; SRe2L takes one."""
    width: int | None = None
    """Channels of the first block; default: the architecture's own."""
    depth: int | None = None
    """Blocks of teachers that are ConvNets; default: 3, less for images under 16 pixels."""
    epochs: float = 200
    """Passes over the training set; longer squeezing makes recovery harder."""
    batch_size: int = 128
    """Images; a smaller set is one batch."""
    learning_rate: float = 0.1
    """Falls to 0 along a cosine, stepped per epoch."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 0
    strategy: str = 'padded-crop-flip'
    """Augmentation: 'padded-crop-flip' or 'resized-crop-flip'."""
    weights: tuple[str, ...] = ()
    """One file (.pth, .safetensors; torchvision's names) or teacher folder per network, instead of squeezing."""
    checkpoint_every: int = 1000
    """Steps between checkpoints of a squeeze."""
    seed: int = 0
    """Of the teachers; runs with another `seed` share them."""


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
    """Images; a smaller set is one batch."""
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
    """Images; a smaller set is one batch."""
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-3
    seed: int = 0
    """Of the pool; runs with another `seed` share the pool."""


@frozen
class Evaluation:
    """Students trained from scratch on the distilled set."""
    protocol: str = 'dsa'
    """Sets the fields below: 'dsa' (DSA, DM, IDM, IID), 'dc' (300 epochs, no augmentation), 'idc', 'quick', or one of
    the soft-label protocols: sre2l, sre2l-tiny, sre2l-imagenet, infer, infer-tiny, infer-imagenet; the last three
    also with -dynamic."""
    networks: tuple[str, ...] = ('convnet',)
    """Architectures of the students."""
    width: int | None = None
    """Channels of the students' first block; default: the architecture's own."""
    depth: int | None = None
    """Blocks of students that are ConvNets; default: those of the encoder (SRe2L, INFER: of the teachers)."""
    num_seeds: int = 5
    """Students per architecture."""
    epochs: int = 1000
    """E, the last epoch index: E + 1 epochs in all, as in the papers' code (schedules 'idc' and 'cosine': E)."""
    batch_size: int = 256
    """Images; a smaller set is one batch."""
    labels: str = 'hard'
    """'hard'; 'static': teachers' logits on the clean images; 'dynamic': on every mixed batch; 'replayed': dynamic ones
    that were recorded once, with their key (FKD)."""
    temperature: float | None = None
    """Of the teachers' and the students' softmax; soft labels need it."""
    squared_temperature: bool = False
    """Multiply the soft-label loss by temperature^2."""
    label_dtype: str = 'float16'
    """Of stored logits: 'float16' or 'float32'."""
    label_top_k: int | None = None
    """Logits kept per recorded label; default: all."""
    optimizer: str = 'sgd'
    """'sgd' or 'adamw'."""
    learning_rate: float | None = None
    """Default: 0.01, or what the architecture learns with (experiments/students.py)."""
    schedule: str = 'dsa'
    """'dsa': x 0.1 with a new optimiser after epoch E // 2 + 1. 'idc': E epochs in all, x 0.2 at 2/3 and at 5/6.
    'cosine': E epochs in all, to 0, stepped per epoch."""
    warmup_epochs: int = 0
    """Of 'cosine'."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_all: bool = True
    """Of 'adamw': decay biases and norms too."""
    strategy: str = 'default'
    """Augmentation of the students' batches, parameters per image: operations, 'none', the data set's 'default',
    'padded-crop-flip' or 'resized-crop-flip'."""
    mode: str = 'S'
    """As in `augmentation.mode`."""
    cutmix: float = 0.0
    """Probability of mixing a mini-batch."""
    mixup: float = 0.0
    """alpha of mixup; 0: none."""
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
    optimizer: Optimizer = Optimizer()
    data: Data = Data()
    encoder: Network = Network()
    training: Training = Training()
    teachers: Teachers = Teachers()
    recover: Recover = Recover()
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
    """Steps per dispatch; default: 5 on CPUs, 50 on accelerators."""
    num_devices: int | None = None
    """Devices to use; default: all, one per core on a CPU host."""
