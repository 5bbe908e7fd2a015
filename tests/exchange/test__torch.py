"""Files of torch are read as tensors, and nothing of them runs."""

import pathlib

import numpy as np
import pytest

from jaxdd.exchange import _torch

torch = pytest.importorskip('torch')


class Harm:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_code_of_a_file_does_not_run_and_the_way_out_is_shown(tmp_path):
    torch.save([torch.zeros(2), Harm(tmp_path / 'harmed')], tmp_path / 'x.pt')
    with pytest.raises(ValueError, match='would run code of the file.*torch.save.d.detach'):
        _torch.load(tmp_path / 'x.pt')
    assert not (tmp_path / 'harmed').exists()
    torch.load(tmp_path / 'x.pt', weights_only=False)  # it would have
    assert (tmp_path / 'harmed').exists()


def test_accuracies_of_numpy_are_read_over(tmp_path):
    torch.save({'x': torch.ones(2), 'accs': [np.float64(0.5), np.ones(3)]}, tmp_path / 'x.pt')
    found = _torch.load(tmp_path / 'x.pt')
    assert found['x'].tolist() == [1, 1] and not isinstance(found['accs'][0], float)


@pytest.mark.parametrize('value', [torch.tensor(0.0), torch.tensor([1.0, 2.0]), -1.0, 'x'])
def test_a_learned_rate_is_one_positive_number(value):
    with pytest.raises(ValueError, match='lr.pt'):
        _torch.number(value, 'lr.pt')
    assert _torch.number(torch.tensor([0.25]), 'lr.pt') == _torch.number(0.25, 'lr.pt') == 0.25


def test_half_precision_becomes_float32_and_a_sparse_tensor_is_refused():
    found = _torch.array(torch.tensor([1.5], dtype=torch.bfloat16), 'x')
    assert found.dtype == np.float32 and found[0] == 1.5
    with pytest.raises(ValueError, match='must be a dense tensor'):
        _torch.array(torch.eye(2).to_sparse(), 'x')


def test_a_part_of_another_set_is_not_left_beside(tmp_path):
    (tmp_path / 'lr.pt').touch()
    with pytest.raises(ValueError, match='lr.pt, which would be read as a part'):
        _torch.write(tmp_path, {'x.pt': torch.zeros(1)}, ('lr.pt',))
    assert not (tmp_path / 'x.pt').exists()
