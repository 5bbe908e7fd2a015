"""Evaluation: students learn, are counted exactly, and differ by their seed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment, data, losses, models, optimizers, parallel
from jaxdd.engine import fit, loop
from jaxdd.engine.evaluate import (
    Student,
    accuracies,
    accuracy,
    confusion,
    evaluate,
    finished,
    share,
    student_batches,
    summary,
)
from jaxdd.labels import relabel
from jaxdd.types import Model, Outputs, Recipe, Source, SyntheticSet, Variables

SET = data.fake()
MODEL = models.by_name('convnet', (8, 8, 3), 3, width=4, depth=1)
HARD = relabel.hard(augment.identity())
SMALL = data.real_subset(jax.random.key(0), SET.train, SET.spec, ipc=3)
RECIPE = Recipe(
    optimizers.sgd(0.1, momentum=0.9, weight_decay=5e-4, drop_at=24),
    30,
    6,
    losses.soft_cross_entropy,
)
STUDENT = Student(MODEL, HARD, RECIPE)
BRIEF = STUDENT._replace(recipe=RECIPE._replace(optimizer=optimizers.sgd(1e-3), num_steps=1))
KEY = jax.random.key(1)


def preprocess(images):
    return data.normalise(SET.spec, images)


def judged(key=KEY, student=STUDENT, num_seeds=2, **options):
    control = loop.Control(**{'steps_per_call': 10, **options})
    return evaluate(
        key, SMALL, SET.test, student, num_seeds=num_seeds, preprocess=preprocess, control=control
    )


def one_by_one(seeds, student=BRIEF, **options):
    return list(
        accuracies(
            KEY,
            SMALL,
            SET.test,
            student,
            seeds=seeds,
            preprocess=preprocess,
            control=loop.Control(**options),
        )
    )


@pytest.fixture(scope='module')
def result():
    return judged()


def test_students_learn_from_a_few_real_images(result):
    assert len(result.per_seed) == 2 and min(result.per_seed) > 0.8
    assert result == summary(result.per_seed)


def test_the_same_key_gives_the_same_accuracy(result):
    assert judged() == result


@pytest.fixture(scope='module')
def barely_trained():
    """Accuracies of four students after one small step: all different from chance alone."""
    return judged(student=BRIEF, num_seeds=4).per_seed


def test_student_i_has_the_key_fold_in_i(barely_trained):
    sample = student_batches(SMALL, HARD, batch_size=6)
    train = jax.jit(lambda key: fit.fit(key, MODEL, sample, BRIEF.recipe))
    for i in range(4):
        variables = train(jax.random.fold_in(KEY, i))
        assert accuracy(MODEL, variables, SET.test, preprocess=preprocess) == barely_trained[i]


def test_seeds_differ(barely_trained):
    assert len(barely_trained) == 4 and len(set(barely_trained)) > 1
    assert judged(jax.random.key(7), BRIEF, num_seeds=4).per_seed != barely_trained


def test_one_program_for_all_seeds_or_one_after_the_other(result):
    assert judged(together=1) == judged(together=2) == result


@pytest.mark.parametrize('num_seeds', [1, 5])
def test_students_are_the_same_on_any_number_of_devices(num_seeds, barely_trained):
    with parallel.use(parallel.mesh(8)):
        found = judged(student=BRIEF, num_seeds=num_seeds, together=num_seeds)
    assert found.per_seed[:4] == barely_trained[:num_seeds]


def test_a_student_is_judged_in_its_test_mode():
    training, testing = (
        models.by_name('convnet_bn', (8, 8, 3), 3, width=4, depth=1, batch_statistics=mode)
        for mode in (True, False)
    )
    result = judged(student=STUDENT._replace(model=training, tested=testing), num_seeds=1)
    sample = student_batches(SMALL, HARD, batch_size=6)
    variables = fit.fit(jax.random.fold_in(KEY, 0), training, sample, RECIPE)
    logits = testing.apply(variables, preprocess(SET.test.images)).logits
    assert result.mean == pytest.approx((np.asarray(logits).argmax(-1) == SET.test.labels).mean())


def test_stopped_early_only_finished_students_count():
    # three dispatches of the first student, one of the second
    answers = iter([False] * 4 + [True] * 9)
    stopped = judged(num_seeds=3, together=1, should_stop=lambda: next(answers))
    assert len(stopped.per_seed) == 1
    with pytest.raises(ValueError, match='no student was finished'):
        judged(should_stop=lambda: True)


@pytest.mark.parametrize('together, sizes', [(1, [1, 1, 1]), (2, [2, 1])])
def test_students_are_handed_over_as_they_are_finished_and_those_known_are_left_out(
    together, sizes
):
    whole = one_by_one(range(3), together=together)
    assert [len(some) for some in whole] == sizes
    trained = []
    rest = one_by_one(
        range(2, 3),
        together=together,
        callbacks=[
            loop.Callback(1, lambda state, at, _: trained.append(state.states.step.shape[0]))
        ],
    )
    assert rest == [[sum(whole, [])[2]]] and trained == [1]
    assert one_by_one(range(3, 3)) == one_by_one(range(3), should_stop=lambda: True) == []


@pytest.mark.parametrize('together, who', [(1, 'student 1'), (2, 'one of the students 1 to 2')])
def test_a_student_that_diverges_is_named(together, who):
    wild = STUDENT._replace(recipe=RECIPE._replace(optimizer=optimizers.sgd(1e30)), name='narrow')
    with pytest.raises(
        loop.NonFiniteError,
        match=rf'^narrow, {who}: loss/train is (nan|inf) at step \d+; '
        r"lower the students' learning rate$",
    ):
        one_by_one(range(1, 3), wild, together=together)


@pytest.mark.parametrize('num_seeds', [0, -1])
def test_no_seeds_are_refused(num_seeds):
    with pytest.raises(ValueError, match=f'num_seeds must be at least 1, got {num_seeds}'):
        judged(num_seeds=num_seeds)


def test_the_summary_has_the_population_deviation():
    result = summary([0.5, 0.7, 0.9])
    assert result.mean == pytest.approx(0.7) and result.std == pytest.approx(np.sqrt(0.08 / 3))
    assert result.per_seed == (0.5, 0.7, 0.9) and summary([0.4]).std == 0
    assert all(
        isinstance(value, float)
        for value in (*summary(np.float32([1, 0])).per_seed, result.mean, result.std)
    )


@pytest.mark.parametrize('batch_size', [4, 6, 100])
def test_a_student_sees_every_image_once_per_epoch(batch_size):
    numbers = jnp.arange(12.0).reshape(3, 4, 1, 1, 1)
    labels = jax.nn.one_hot(jnp.arange(12).reshape(3, 4), 12)
    sample = jax.jit(student_batches(SyntheticSet(numbers, labels), HARD, batch_size=batch_size))
    per_epoch = data.steps_per_epoch(12, batch_size)
    orders = []
    for epoch in range(2):
        batches = [sample(KEY, jnp.int32(epoch * per_epoch + i)) for i in range(per_epoch)]
        for b in batches:
            np.testing.assert_array_equal(b.labels.argmax(-1), b.images[:, 0, 0, 0])
        kept = np.concatenate(
            [np.asarray(b.images)[np.asarray(b.weights) == 1, 0, 0, 0] for b in batches]
        )
        assert sorted(kept) == list(range(12))
        orders.append(tuple(kept))
    assert orders[0] != orders[1]


def test_views_differ_between_steps():
    def noisy(key, images):
        return images + jax.random.normal(key)

    sample = student_batches(SMALL, relabel.hard(noisy), batch_size=100)
    sums = [float(sample(KEY, jnp.int32(step)).images.sum()) for step in range(3)]
    assert len({round(value, 2) for value in sums}) == 3


def test_equal_configurations_compile_once_and_arrays_are_arguments():
    traces = []

    @jax.jit
    def first(sample):
        traces.append(1)
        return sample(KEY, jnp.int32(0))

    weights = [MODEL.init(jax.random.key(i)) for i in range(2)]
    changed = SMALL._replace(images=SMALL.images + 1)
    plain = [first(student_batches(s, HARD, batch_size=4)) for s in (SMALL, SMALL, changed)]
    assert len(traces) == 1
    taught = [
        first(student_batches(SMALL, relabel.dynamic(HARD, [MODEL], [w]), batch_size=4))
        for w in weights
    ]
    assert len(traces) == 2
    np.testing.assert_allclose(plain[2].images, plain[0].images + 1, rtol=1e-5)
    np.testing.assert_array_equal(taught[0].images, plain[0].images)
    for batch, w in zip(taught, weights):
        np.testing.assert_allclose(
            batch.labels, MODEL.apply(w, batch.images).logits, rtol=1e-4, atol=1e-5
        )
    arrays = jax.tree.leaves(
        student_batches(SMALL, relabel.dynamic(HARD, [MODEL], weights[:1]), batch_size=4)
    )
    assert len(arrays) == len(jax.tree.leaves((SMALL, weights[0])))


def test_students_learn_from_a_teacher():
    teacher = fit.fit(
        jax.random.key(3), MODEL, data.epochs(SET.train, SET.spec, batch_size=16), RECIPE
    )
    recipe = RECIPE._replace(loss=functools.partial(losses.soft_label_kl, temperature=2.0))
    student = Student(MODEL, relabel.dynamic(HARD, [MODEL], [teacher]), recipe)
    assert min(judged(student=student, together=2).per_seed) > 0.8


def test_accuracy_counts_a_short_last_batch_exactly():
    def apply(variables, images):  # says class 1 where the first pixel is bright
        return Outputs(
            jnp.stack([variables.params - images[:, 0, 0, 0], images[:, 0, 0, 0]], -1),
            None,
            None,
            {},
        )

    toy, variables = Model(None, apply), Variables(jnp.float32(1), {}, jnp.int32(0), jnp.float32(0))
    rng = np.random.default_rng(0)
    test = Source(
        rng.integers(0, 256, (23, 2, 2, 1), dtype=np.uint8), rng.integers(0, 2, 23, dtype=np.int32)
    )
    expected = np.mean((test.images[:, 0, 0, 0] / 255 > 0.5) == test.labels)

    def scaled(images):
        return images / 255

    for batch_size in (1, 5, 22, 23, 500):
        assert accuracy(
            toy, variables, test, preprocess=scaled, batch_size=batch_size
        ) == pytest.approx(expected)
    last_wrong = test._replace(
        labels=np.append(test.labels[:-1], 1 - (test.images[-1, 0, 0, 0] > 127))
    )
    changed = np.mean((last_wrong.images[:, 0, 0, 0] > 127) == last_wrong.labels)
    assert accuracy(toy, variables, last_wrong, preprocess=scaled, batch_size=10) == pytest.approx(
        changed
    )


def saying(classes):
    """A network of `classes` classes that says the value of an image's first pixel."""

    def apply(variables, images):
        del variables
        return Outputs(jax.nn.one_hot(images[:, 0, 0, 0], classes), None, None, {})

    return Model(None, apply)


def shown(said, labels):
    images = np.zeros((len(said), 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = said
    return Source(images, np.array(labels, np.int32))


@pytest.mark.parametrize('batch_size', [1, 4, 7, 500])
def test_confusion_counts_labels_by_what_is_said(batch_size):
    test = shown([0, 2, 1, 1, 2, 2, 0], [0, 0, 1, 1, 2, 2, 2])
    counts = confusion(
        saying(4), None, test, preprocess=lambda images: images, batch_size=batch_size
    )
    # class 0: right once, taken for 2 once; class 1: right twice; class 2: taken for 0 once
    assert counts.tolist() == [[1, 0, 1, 0], [0, 2, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    assert share(counts) == 5 / 7
    found = accuracy(saying(4), None, test, preprocess=lambda images: images, batch_size=batch_size)
    assert found == 5 / 7


def test_students_come_with_their_counts_and_weights():
    (one,), (two,) = finished(KEY, SMALL, SET.test, BRIEF, seeds=range(2), preprocess=preprocess)
    assert [share(one.counts), share(two.counts)] == sum(one_by_one(range(2)), [])
    assert one.counts.shape == (3, 3) and one.counts.sum() == len(SET.test.labels)
    np.testing.assert_array_equal(one.counts.sum(1), np.bincount(SET.test.labels))
    again = confusion(MODEL, two.variables, SET.test, preprocess=preprocess)
    np.testing.assert_array_equal(again, two.counts)
