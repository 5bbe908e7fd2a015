"""What is read from a TPU compiler's text, on a program written by hand; and from a real one."""

import re

import pytest

from experiments import compiled
from experiments.speed import estimates, targets

SHORT = """
HloModule jit_run_steps

%cond.1 (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[]{:T(128)}, f32[8]{0:T(128)}) parameter(0)
  %limit = s32[]{:T(128)} constant(3)
  %at = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %less = pred[]{:T(512)} compare(%at, %limit), direction=LT
}

%turn.1 (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %small = f32[8]{0:T(128)} fusion(%x), kind=kLoop, calls=%f.1, @conv1/dot 100@
}

%f.2 (p: f32[64]) -> f32[64] {
  %gather.1 = f32[64]{0:T(128)} all-gather(%p), channel_id=1, @top_k 0@
}

%body.1 (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %dear = f32[320,128]{1,0:T(8,128)} fusion(%x), kind=kOutput, calls=%f.2, @norm0/reduce_sum 5000@
  %gather.2 = f32[64]{0:T(128)} all-gather(%y), channel_id=1, @top_k 0@
  %loop = (s32[], f32[8]{0:T(128)}) while(%t), condition=%cond.1, body=%turn.1
  %sum = (f32[8]{0:T(128)}, f32[8]{0:T(128)}) all-reduce-start(%z), channel_id=2, @mean 0@
  %done = f32[8]{0:T(128)} all-reduce-done(%sum), channel_id=2
}

ENTRY %main.1 (p: u8[50000,32,32,3]) -> f32[8] {
  %copied = u8[50000,32,32,3]{2,1,3,0:T(8,128)(4,1)} copy(%p), @ 7000@
  %steps = (s32[], f32[8]{0:T(128)}) while(%t), condition=%cond.1, body=%body.1
}
"""


def noted(match):
    """Path and cycles as the compiler writes them."""
    path = f'metadata={{op_name="jit(run_steps)/while/body/{match[1]}"}}'
    cycles = f'backend_config={{"window_config":{{"estimated_cycles":"{match[2]}"}}}}'
    return f'{path}, {cycles}' if match[2] != '0' else path


TEXT = re.sub(r'@(\S*) (\d+)@', noted, SHORT)


def test_cycles_are_summed_over_a_step_and_beside_it():
    found = estimates.estimate(TEXT)
    assert (found.step, found.once) == (5000 + 3 * 100, 7000)
    assert [one.cycles for one in found.dearest] == [5000, 300]  # a loop's turns are added up
    assert found.dearest[0].path.endswith('norm0/reduce_sum')
    assert found.copied[0].shape.startswith('u8[50000,32,32,3]')


def test_a_collective_counts_once_per_channel():
    gather, reduce = estimates.estimate(TEXT).sent
    assert (gather.kind, gather.size, gather.times) == ('all-gather', 256, 1)
    assert (reduce.kind, reduce.size, reduce.times) == ('all-reduce', 32, 1)


def test_a_program_without_a_loop_is_refused():
    with pytest.raises(ValueError, match='no loop of steps'):
        estimates.estimate('ENTRY %main (p: f32[]) -> f32[] {\n  %p = f32[] parameter(0)\n}')


@pytest.mark.parametrize(
    'name, message',
    [
        ('v9:2x4', "unknown target 'v9:2x4'; known are v5e:1x1"),
        ('v5e', "unknown target 'v5e'"),
        ('h100:many', "unknown target 'h100:many'"),
    ],
)
def test_an_unknown_target_is_refused(name, message, capsys):
    with pytest.raises(ValueError, match=message):
        targets.find(name)
    assert compiled.main(['--target', name]) == 2
    assert 'unknown target' in capsys.readouterr().err


def test_a_missing_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setattr(targets.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.delenv('TPU_LIBRARY_PATH', raising=False)
    for platform, extra in (('tpu', 'tpu'), ('cuda', 'cuda-aot')):
        with pytest.raises(ValueError, match=rf"pip install -e '.\[{extra}\]'"):
            targets.require(platform)


def test_a_record_is_a_row_of_the_table():
    record = {
        'step': 'dm',
        'target': 'v5e:2x4',
        'chips': 8,
        'hosts': 1,
        'compile seconds': 60.0,
        'bytes per device': {'arguments': 2**20, 'temporaries': 2**21, 'code': 1},
        'FLOPs of a step': 1e9,
        'cycles of a step (estimate)': 4_750_000,
        'cycles of a dispatch beside its steps (estimate)': 9_000,
        'share of the matrix peak (estimate)': 0.05,
        'collectives of a step': [{'kind': 'all-reduce', 'size': 10**6, 'times': 2, 'path': 'a/b'}],
        'dearest': [{'cycles': 10, 'path': 'jit/while/body/norm0/sum', 'shape': 'f32[2]'}],
        'dearest beside the steps': [],
    }
    assert compiled.table([record])[-1] == ('| dm | v5e:2x4 | 4.75 | 0.01 | 5.0 | 2 | 2 | 2.00 |')
    shown = '\n'.join(compiled.words(record))
    assert 'while/body/norm0/sum' in shown and '2 x all-reduce of 1,000,000 bytes' in shown
