"""Files of torch: read without running their code, and written whole."""

import io
import pathlib
import pickle
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxdd.exchange.packages import optional
from jaxdd.storage.atomic import write_whole

TENSOR = 'd.detach()'  # what is kept of a file that holds one tensor `d`
# NumPy's numbers, as lists of accuracies hold them. They are not read, so that nothing of NumPy
# needs to be called: stand-ins of these names take their places.
UNREAD = (
    'numpy.core.multiarray.scalar',
    'numpy._core.multiarray.scalar',
    'numpy.core.multiarray._reconstruct',
    'numpy._core.multiarray._reconstruct',
    'numpy.ndarray',
    'numpy.dtype',
)


def package() -> Any:
    """The module torch.

    Raises:
        ValueError: it is not installed.
    """
    return optional('torch', 'a file of PyTorch', 'torch')


def load(path: pathlib.Path, keep: str = TENSOR) -> Any:
    """What a file of torch holds; its tensors come to the CPU, and none of its code runs.

    Args:
        keep: the tensors of a file's content `d`, in torch's words, for who has to convert a file.

    Raises:
        ValueError: no torch; no such file, a damaged one, or one that needs code to be read.
    """
    torch = package()
    if not path.is_file():
        raise ValueError(f'no file at {path}: check the path')
    try:
        with torch.serialization.safe_globals([_stand_in(name) for name in UNREAD]):
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(_refusal(path, error, keep)) from error


def array(value: Any, what: Any) -> np.ndarray:
    """A tensor as an array; floats are float32 or wider.

    Args:
        what: the tensor's name in an error.

    Raises:
        ValueError: it is no dense tensor.
    """
    torch = package()
    if not isinstance(value, torch.Tensor):
        raise ValueError(f'{what} must be a tensor, got {type(value).__name__}')
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise ValueError(f'{what} must be a dense tensor, got {value.layout} of {value.dtype}')
    if value.is_floating_point() and value.itemsize < 4:  # NumPy has no bfloat16
        value = value.float()
    return value.detach().resolve_conj().resolve_neg().numpy()


def number(value: Any, what: Any) -> float:
    """A learned rate, of a tensor or of Python.

    Raises:
        ValueError: it is not one positive number.
    """
    found = np.asarray(value) if isinstance(value, float) else array(value, what)
    if found.size != 1 or found.dtype.kind != 'f' or not 0 < found.item() < np.inf:
        raise ValueError(
            f'{what}: a learning rate must be one positive number, got {found.dtype} '
            f'{found.item() if found.size == 1 else found.shape}'
        )
    return found.item()


def nchw(images: np.ndarray) -> Any:
    """Class-major images `[K, n, H, W, C]` as a tensor `[K n, C, H, W]`, float32."""
    rows = images.reshape(-1, *images.shape[2:]).transpose(0, 3, 1, 2)
    return package().from_numpy(np.array(rows, np.float32, order='C'))


def classes(images: np.ndarray) -> Any:
    """The labels of class-major images `[K, n, ...]`: each of 0..K-1 n times, int64."""
    return package().arange(len(images)).repeat_interleave(images.shape[1])


def write(
    folder: pathlib.Path, contents: Mapping[str, Any], others: Iterable[str] = ()
) -> tuple[pathlib.Path, ...]:
    """Writes files of torch, or of bytes, into a folder; all are made before the first is written.

    Args:
        contents: by name.
        others: names that a reader would take for a part of what is written.

    Raises:
        ValueError: no torch, or the folder has one of the others, from another set.
    """
    made = {
        name: content if isinstance(content, bytes) else _saved(content)
        for name, content in contents.items()
    }
    if left := [name for name in others if name not in made and (folder / name).exists()]:
        raise ValueError(
            f'{folder} has {left[0]}, which would be read as a part of this set and is not: write '
            'into an empty folder'
        )
    for name, content in made.items():
        write_whole(folder / name, content)
    return tuple(folder / name for name in made)


def file_in(path: pathlib.Path, *patterns: str) -> pathlib.Path:
    """A file, or the only one in a folder whose name fits.

    Raises:
        ValueError: no such path; none or several files.
    """
    if path.is_file():
        return path
    found = sorted({match for pattern in patterns for match in path.glob(pattern)})
    if len(found) == 1:
        return found[0]
    names = ', '.join(match.name for match in found)
    raise ValueError(
        f'{path} must be a file or a folder with one {" or ".join(patterns)}, got '
        f'{names or ("none" if path.is_dir() else "neither")}: name the file itself'
    )


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    package().save(content, buffer)
    return buffer.getvalue()


def _stand_in(name: str) -> type:
    """A class of another's name, which takes whatever it is given and keeps nothing."""
    module, _, own = name.rpartition('.')
    return type(
        own,
        (),
        {
            '__module__': module,
            '__init__': lambda self, *_: None,
            '__setstate__': lambda self, _: None,
        },
    )


def _refusal(path: pathlib.Path, error: Exception, keep: str) -> str:
    """Why a file is not read. Torch's own message advises to load without the guard."""
    text = ' '.join(str(error).split())
    asked = re.search(r'GLOBAL (\S+)', text)
    said = text.split('WeightsUnpickler error: ')[-1].split('. ')[0][:160] or type(error).__name__
    if not asked and not isinstance(error, pickle.UnpicklingError):
        return (
            f'{path} is damaged or no file of torch; copy or save it again (torch said: {said}). '
            'Archives of TorchScript are programs and are not read'
        )
    wish = f'asks for {asked[1]} when it is read' if asked else f'is more than tensors ({said})'
    name = path.name
    return (
        f'{path} {wish}, which would run code of the file, so it is refused. Where the file is '
        f'trusted, convert a copy of it once, which does run that code: python -c "import torch; '
        f"d = torch.load('{name}', map_location='cpu', weights_only=False); "
        f"torch.save({keep}, '{name}')\""
    )
