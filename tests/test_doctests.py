"""Docstrings: their examples are run, and each says which notebook its function comes from."""

import doctest
import importlib
import inspect
import pkgutil
import re
import types

import course_utils
from course_utils import data, history, metrics, models, plots, ranking, training

import pytest

MODULES = sorted(found.name for found in pkgutil.walk_packages(course_utils.__path__, "course_utils."))
# What students call most carries an example.
EXAMPLES = (
    metrics.rmse,
    models.matrix_factorization,
    training.fit,
    ranking.top_n,
    ranking.fold_in,
    data.sizes,
    data.load_ratings,
)


def run_examples(module: types.ModuleType) -> tuple[int, str]:
    """Run every example in a module's docstrings. Return how many failed, and what doctest said of them."""
    runner, said = doctest.DocTestRunner(verbose=False), []
    for test in doctest.DocTestFinder().find(module):
        runner.run(test, out=said.append)
    return runner.failures, "".join(said)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_give_what_they_say(name):
    failed, said = run_examples(importlib.import_module(name))
    assert failed == 0, said


def test_a_wrong_example_fails():
    module = types.ModuleType("made_up")
    module.__doc__ = ">>> 1 + 1\n3\n"
    failed, said = run_examples(module)
    assert failed == 1 and "Expected:\n    3\nGot:\n    2" in said
    module.__doc__ = ">>> 1 + 1\n2\n"
    assert run_examples(module) == (0, "")


@pytest.mark.parametrize("function", EXAMPLES, ids=lambda function: function.__name__)
def test_what_students_call_most_has_an_example(function):
    assert doctest.DocTestParser().get_examples(inspect.getdoc(function))


@pytest.mark.parametrize(
    "module", [history, metrics, models, plots, ranking, training], ids=lambda m: m.__name__
)
def test_a_docstring_says_which_notebook_it_belongs_to(module):
    public = [
        thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__ and callable(thing)
    ]
    assert len(public) > 1
    for thing in public:
        first = inspect.getdoc(thing).split("\n\n")[0]
        assert re.search(r"notebook \d\d", first), f"{thing.__name__}: which notebook builds or introduces it?"
