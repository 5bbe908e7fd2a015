"""What the benchmark asks of torch:
where it runs, how much memory it took, how many operations a step has."""

import os
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def start() -> str:
    """Gives torch every core that this process may use; returns where its steps run:
    'cuda' or 'cpu'."""
    torch.set_num_threads(cores())
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def flops(step: Callable[[], object]) -> int:
    """Floating-point operations of the products and convolutions that `step` calls;
    a multiply-add counts two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def product(size: int, device: str) -> Callable[[], float]:
    """A product of two float32 matrices of this size, to be timed:
    a function that returns when it is done."""
    a = torch.ones((size, size), device=device)
    return lambda: (a @ a)[0, 0].item()


def peak(device: str) -> int | None:
    """Most bytes that tensors took on an accelerator since the last call;
    None on a CPU, where nobody counts."""
    if device == 'cpu':
        return None
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return most
