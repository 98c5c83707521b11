"""A training that was recorded from the authors' release, made again."""

import pytest
import torch

from owdfa.records.training import Batch, Progress
from owdfa.runs.settings import OptimiserSettings, ScheduleSettings
from owdfa.training.optimizer import learning_rate
from reference.recordings import arrays, note
from small_networks import losses


class RecordedTraining:
    """SGD with a cosine schedule on two views an image.

    Args:
        name: Of the recording.
    """

    def __init__(self, name):
        self.run = note(name)
        self.given = {key: torch.from_numpy(array) for key, array in arrays(name).items()}
        names = ("lr", "momentum", "weight_decay")
        self.sgd = {key: self.run[key] for key in names}

    def begin(self, method, names):
        """Give a method the recorded weights; ``names`` are those of the recording by ours."""
        with torch.no_grad():
            for name, parameter in method.named_parameters():
                parameter.copy_(self.given[f"init_{names[name]}"])

    def assert_same(self, method, names, groups):
        """Train parameters in ``groups``; every loss and the last weights are as recorded."""
        run, given = self.run, self.given
        optimizer = torch.optim.SGD(groups, **self.sgd)
        schedule = ScheduleSettings(name="cosine", gamma=run["lr_end"])
        seen, labels = [], torch.tensor(run["labels"])
        for epoch in range(run["epochs"]):
            progress = Progress(epoch, run["epochs"])
            rate = learning_rate(OptimiserSettings(name="sgd", **self.sgd), schedule, progress)
            for group in optimizer.param_groups:
                group["lr"] = rate
            for number in range(run["batches"]):
                views = tuple(given[f"b{number}v{view}"].double() for view in range(2))
                found = losses(method, Batch(views, labels, torch.arange(len(labels))), progress)
                optimizer.zero_grad()
                found.total.backward()
                optimizer.step()
                seen.append(found.total.item())
        assert seen == pytest.approx(run["losses"], rel=1e-7)
        for name, parameter in method.named_parameters():
            expected = given[f"final_{names[name]}"]
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-6, atol=1e-7)
