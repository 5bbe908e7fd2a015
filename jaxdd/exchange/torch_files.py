"""The forms in which PyTorch programs of the methods' authors keep a distilled set.

Each is a `forms.Form` of files that `torch.save` makes. Images are float32 `[N, C, H, W]`, N = K n,
written class-major: the n images of class 0 come first. Where a file has whole labels (int64), a
reader takes the images in any order and groups them by class; those of one class keep their order.
No code of a file runs when it is read.

DC (also DSA, DM): `res_*.pt`, written as `res.pt`, {'data': [[images, labels], ... a pair for each
experiment], 'accs_all_exps': {network: list}}; images are normalised. A reader takes the file or
its folder, and the first experiment or the one that `Told.info` names under 'experiment'. The
accuracies are not read, and written empty, since a set does not know them.

MTT: a folder with `images_best.pt`, normalised or whitened, and `labels_best.pt`. Of a whitened set
also `images_zca_best.pt`, which in spite of its name holds pixels: the pictures, whitened no more,
and not clipped to [0, 1]. A reader takes `images.pt` and `labels.pt`, too, and is told the
whitening. There is no file for a learned rate.

DATM: MTT's files, with labels `[N, Y]` float32 that are logits, and `lr_best.pt`, one number. Its
program takes the softmax of the labels: probabilities are written as their logarithms, and a reader
makes probabilities of logits (rows that are some already stay). It takes `images.pt`, `labels.pt`
and `lr.pt`, too, as the released sets are named. Images must be class-major, since soft labels name
no class.

IDC (also NCFM): `data.pt`, [images, labels]; images are pixels in [0, 1], mosaics that are not cut.
A reader is told the space 'unit', and how to cut as `Told.decode` (IDC's order is 'row').

CIM: one file, written as `cim.pt`, {'dataset': name, 'data': images, 'label': labels}. Images are
written normalised, and a reader is told the space. It takes the name into the set's info, unless
`Told.info` has one.

Note:
    IDC: pixels outside [0, 1] are clipped, written or read. Both programs keep their images there:
    IDC clips before every step, so that the last one may leave its own files a little beyond. A
    warning says how far a set reached, if it is more than half a grey level; images that were free
    to move (DM, IDM) lose by it, and another form keeps them. What reaches further than 0.5 beyond
    is refused by a reader: it holds no pixels.

    MTT: images keep the normalisation of the set, but MTT's program shows CIFAR-100 with CIFAR-10's
    constants, unless it whitens. DC's has the same constants as `data.specs`.
"""

import pathlib
import warnings
from typing import Any

import numpy as np

from jaxdd.exchange import _rows, _torch, forms
from jaxdd.exchange.forms import Artifact, Form, Told

BEST = ('images_best.pt', 'images_zca_best.pt', 'labels_best.pt', 'lr_best.pt', 'lr.pt')
BEYOND = 0.5  # pixels further outside [0, 1] than this are none
GREY = 1 / 255


def _write_dc(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    _rows.require_whole(artifact, DC)
    images, _ = forms.stored(artifact)
    pair = [_torch.nchw(images), _torch.classes(images)]
    return _torch.write(folder, {'res.pt': {'data': [pair], 'accs_all_exps': {}}})


def _read_dc(path: pathlib.Path, told: Told) -> Artifact:
    path = _torch.file_in(path, 'res*.pt')
    keep = "{'data': [[x.detach(), y] for x, y in d['data']], 'accs_all_exps': {}}"
    content = _torch.load(path, keep)
    pairs = content.get('data') if isinstance(content, dict) else None
    if not isinstance(pairs, list) or not pairs:
        raise ValueError(
            f"{path}: a file of DC, DSA or DM is a dict whose 'data' lists experiments, got "
            f'{_seen(content)}'
        )
    shapes = [
        (images.shape, labels.shape)
        for i, pair in enumerate(pairs)
        for images, labels in [_pair(pair, f'{path}, experiment {i}')]
    ]
    if other := next((i for i, shape in enumerate(shapes) if shape != shapes[0]), 0):
        raise ValueError(
            f'{path}: experiment {other} has images and labels of shapes {shapes[other]}, '
            f'experiment 0 of {shapes[0]}: they are no repetitions of one'
        )
    return _hard(*_pair(pairs[_experiment(len(pairs), told, path)], path), told, path)


def _write_mtt(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    _rows.require_whole(artifact, MTT)
    images, _ = forms.stored(artifact)
    return _torch.write(folder, _best(artifact, images, _torch.classes(images)), BEST)


def _read_mtt(path: pathlib.Path, told: Told) -> Artifact:
    where = _named(path, 'images', told)
    labels = _named(path, 'labels')
    return _hard(
        _torch.array(_torch.load(where), where),
        _torch.array(_torch.load(labels), labels),
        told,
        path,
    )


def _write_datm(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    _rows.require_whole(artifact, DATM)
    torch = _torch.package()
    images, labels = forms.stored(artifact)
    flat = torch.from_numpy(_rows.logits(labels.reshape(-1, labels.shape[-1])))
    contents = _best(artifact, images, flat)
    if artifact.synthetic.learning_rate is not None:
        rate = float(np.asarray(artifact.synthetic.learning_rate))
        contents['lr_best.pt'] = torch.tensor(rate, dtype=torch.float32)
    return _torch.write(folder, contents, BEST)


def _read_datm(path: pathlib.Path, told: Told) -> Artifact:
    where, beside = _named(path, 'images', told), _named(path, 'labels')
    images = _rows.images(_torch.array(_torch.load(where), where), told, where)
    soft = _rows.soft(_torch.array(_torch.load(beside), beside), len(images), told, beside)
    known = [path / name for name in ('lr_best.pt', 'lr.pt') if (path / name).exists()]
    rate = _torch.number(_torch.load(known[0]), known[0]) if known else None
    grouped = _rows.in_order(images, told, where)
    return _rows.assembled(grouped, _rows.probabilities(soft), told, rate=rate)


def _write_idc(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    _rows.require_whole(artifact, IDC)
    pixels, _ = forms.stored_pixels(artifact)
    pixels = _clipped(pixels)
    return _torch.write(folder, {'data.pt': [_torch.nchw(pixels), _torch.classes(pixels)]})


def _read_idc(path: pathlib.Path, told: Told) -> Artifact:
    path = _torch.file_in(path, 'data.pt')
    images, labels = _pair(_torch.load(path, '[d[0].detach(), d[1]]'), path)
    if told.space == 'unit' and images.dtype.kind == 'f' and images.size:
        if -BEYOND <= images.min() and images.max() <= 1 + BEYOND:
            images = _clipped(images)
    return _hard(images, labels, told, path)


def _write_cim(artifact: Artifact, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
    _rows.require_whole(artifact, CIM)
    images, _ = forms.stored(artifact)
    content = {
        'dataset': forms.named(artifact.about['info'], 'dataset'),
        'data': _torch.nchw(images),
        'label': _torch.classes(images),
    }
    return _torch.write(folder, {'cim.pt': content})


def _read_cim(path: pathlib.Path, told: Told) -> Artifact:
    path = _torch.file_in(path, '*.pt')
    keep = "{'dataset': str(d['dataset']), 'data': d['data'].detach(), 'label': d['label']}"
    content = _torch.load(path, keep)
    if not isinstance(content, dict) or not {'data', 'label'} <= set(content):
        raise ValueError(
            f"{path}: a file of CIM is a dict of 'dataset', 'data' and 'label', got "
            f'{_seen(content)}'
        )
    if isinstance(content.get('dataset'), str) and content['dataset']:
        told = told._replace(info={'dataset': content['dataset'], **told.info})
    return _hard(*_pair([content['data'], content['label']], path), told, path)


def _hard(images: np.ndarray, labels: np.ndarray, told: Told, where: Any) -> Artifact:
    """A set of images `[N, C, H, W]` and whole labels `[N]`."""
    rows = _rows.images(images, told, where)
    return _rows.assembled(_rows.by_class(rows, labels, told, where), None, told)


def _pair(content: Any, where: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(content, (list, tuple)) or len(content) != 2:
        raise ValueError(f'{where} must be a list of images and labels, got {_seen(content)}')
    images, labels = content
    return _torch.array(images, f'{where}: images'), _torch.array(labels, f'{where}: labels')


def _experiment(count: int, told: Told, where: Any) -> int:
    asked = told.info.get('experiment', 0)
    if not isinstance(asked, int) or isinstance(asked, bool) or not 0 <= asked < count:
        raise ValueError(
            f'{where} holds experiments 0..{count - 1}, got {asked!r}: give one of them as '
            "'experiment' of the info"
        )
    return asked


def _best(artifact: Artifact, images: np.ndarray, labels: Any) -> dict[str, Any]:
    """MTT's files by name."""
    contents = {'images_best.pt': _torch.nchw(images), 'labels_best.pt': labels}
    if artifact.about.get('whitening') is not None:
        contents['images_zca_best.pt'] = _torch.nchw(forms.to_unit(artifact, images))
    return contents


def _named(folder: pathlib.Path, stem: str, told: Told | None = None) -> pathlib.Path:
    """The file of a folder of MTT's or DATM's."""
    if not folder.is_dir():
        raise ValueError(f'{folder} must be a folder with images_best.pt and labels_best.pt')
    zca = folder / 'images_zca_best.pt'
    if told is not None and told.space != 'whitened' and zca.exists():
        raise ValueError(
            f'the images of {folder} are said to be {told.space}, but {zca.name} comes only with '
            'whitened ones: give the whitening of the data set'
        )
    names = [f'{stem}_best.pt', f'{stem}.pt']
    found = [folder / name for name in names if (folder / name).exists()]
    if not found:
        raise ValueError(f'{folder} has neither {names[0]} nor {names[1]}: check the path')
    return found[0]


def _clipped(pixels: np.ndarray) -> np.ndarray:
    """Pixels within [0, 1]; says how far they reached."""
    reach = max(-float(pixels.min()), float(pixels.max()) - 1)
    if reach > GREY / 2:
        count = int(((pixels < 0) | (pixels > 1)).sum())
        warnings.warn(
            f'{count:,} of {pixels.size:,} pixel values lie outside [0, 1], by up to {reach:.3g}, '
            'and are clipped, as IDC clips its own; npz keeps them',
            stacklevel=3,
        )
    return np.clip(pixels, 0, 1)


def _seen(content: Any) -> str:
    """What a file holds instead, in short."""
    if isinstance(content, dict):
        return f'a dict of {", ".join(map(repr, list(content)[:5])) or "nothing"}'
    length = f' of {len(content)}' if isinstance(content, (list, tuple)) else ''
    return f'{type(content).__name__}{length}'


DC = Form(_write_dc, _read_dc, frozenset(), 'torch')
MTT = Form(_write_mtt, _read_mtt, frozenset({'whitening'}), 'torch')
DATM = Form(
    _write_datm, _read_datm, frozenset({'soft labels', 'learning rate', 'whitening'}), 'torch'
)
IDC = Form(_write_idc, _read_idc, frozenset({'mosaics'}), 'torch')
CIM = Form(_write_cim, _read_cim, frozenset(), 'torch')
