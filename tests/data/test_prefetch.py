"""Work that is done before it is asked for."""

import itertools
import threading

import jax
import numpy as np
import pytest

from jaxdd.data.prefetch import ahead, on_host


def test_results_come_in_order_from_any_step():
    assert list(itertools.islice(ahead(lambda i: i * i, 3, 2), 4)) == [9, 16, 25, 36]


def test_the_next_ones_are_worked_out_before_they_are_asked_for():
    begun = {i: threading.Event() for i in range(10)}

    def gather(i):
        begun[i].set()
        return i

    stream = ahead(gather, 0, 3)
    assert next(stream) == 0
    assert begun[3].wait(5) and not begun[4].is_set()
    stream.close()


def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_asked_for():
    with pytest.raises(ZeroDivisionError):
        next(ahead(lambda i: 1 // i, 0, 1))


def test_a_key_on_the_host_draws_the_same_numbers():
    key = jax.random.fold_in(jax.random.key(5), 7)
    np.testing.assert_array_equal(
        jax.random.uniform(on_host(key), (4,)), jax.random.uniform(key, (4,))
    )
