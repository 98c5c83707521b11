"""What every method must do: a file put into ``owdfa/methods/`` is tested here by its name.

So is one from outside, with other declarations: one view, and a number of classes that it needs;
and the template that new methods start from. The rules are those of ``owdfa check-method``.
"""

import pyarrow as pa
import pytest
import torch

from owdfa import catalog
from owdfa.errors import UserError
from owdfa.extending.check import RULES, applies
from owdfa.extending.rules_files import the_exported_graph_agrees
from owdfa.extending.toys import Subject, adam, fit, losses
from owdfa.records.split import SCHEMA, Basis, Split
from owdfa.records.training import Progress

OWN = [*catalog.names("methods"), "owdfa.extending.template"]
every_method = pytest.mark.parametrize("name", [*OWN, "outside.centres"])


@every_method
@pytest.mark.parametrize(
    "rule",
    [each for each in RULES if each is not the_exported_graph_agrees],
    ids=lambda r: r.__name__,
)
def test_a_method_keeps_the_rule(name, rule):
    if not applies(rule, Subject(name)):
        pytest.skip("it is not trained")
    assert list(rule(Subject(name))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_the_exported_graph_of_a_method_agrees(name):
    assert list(the_exported_graph_agrees(Subject(name))) == []


@every_method
def test_fewer_classes_than_known_ones_are_refused(name):
    with pytest.raises(UserError, match=r"2 classes are fewer than the 3 known ones.*--classes"):
        Subject(name).build(2)
    assert Subject(name).build(3).num_active >= 3


@every_method
def test_hidden_labels_cannot_be_seen(name):
    """Whatever the true labels of unlabelled images are, the weights come out the same."""
    weights = []
    for hidden in (["a", "b", "x", "y"], ["y", "x", "a", "b"]):
        subject, rows = Subject(name), split(["a", "b", "c", "a"], hidden).training_rows()
        method = subject.build()
        optimizer = adam(method)
        if not subject.is_trained:
            fit(method.eval(), subject.batch(rows.labels))
        for epoch in range(6 if subject.is_trained else 0):
            torch.manual_seed(epoch)
            optimizer.zero_grad()
            made = losses(method, subject.batch(rows.labels, epoch), Progress(epoch, 6))
            made.total.backward()
            optimizer.step()
            method.end_epoch(Progress(epoch, 6))
        weights.append(method.state_dict())
    one, other = weights
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def split(labelled, unlabelled):
    """A split with images of these classes."""
    roles = ["labelled"] * len(labelled) + ["unlabelled"] * len(unlabelled)
    classes = labelled + unlabelled
    ids = [f"{number}.png" for number in range(len(roles))]
    columns = {"id": ids, "role": roles, "class": classes, "group": ids, "sha256": ids}
    basis = Basis("images.parquet", "", None, "group", 0, 0.75, 0.2, 0.0)
    return Split(pa.table(columns, schema=SCHEMA), ("a", "b", "c"), ("x", "y"), basis)
