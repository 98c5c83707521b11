"""Features of a frozen backbone for the images of a split: computed before the training."""

import torch

from owdfa.backbones.base import is_frozen
from owdfa.distributed import barrier, is_first_process
from owdfa.images.store import Store
from owdfa.inference.frozen_features import features_digest, keep_features
from owdfa.loading.views import PlainView
from owdfa.methods.base import method_type
from owdfa.progress import OnProgress
from owdfa.records.split import ROLES, Split
from owdfa.runs.settings import RunSettings
from owdfa.training.initial_weights import initial_backbone


def keep_features_of_split(
    settings: RunSettings, data: Split, store: Store, device: torch.device, on_progress: OnProgress
) -> str | None:
    """Compute the features of a frozen backbone for all images of the split, where they lack.

    Those of test images too, which are predicted later: an image's features rest on nothing else.

    Returns:
        The digest by which they are found; None where the method takes none.

    Raises:
        UserError: The weights are not available, or the crops are of another size.
    """
    takes_features = method_type(settings.method.name).takes_features
    if not takes_features or not is_frozen(settings.backbone.name):
        return None
    backbone = initial_backbone(settings)
    view = PlainView(settings.data.views.size, backbone.mean, backbone.std)
    ids = data.with_role(*ROLES[:-1])["id"]
    if is_first_process():
        keep_features(backbone.to(device).eval(), store, ids, view, on_progress)
    barrier()
    return features_digest(backbone, view.size)
