import pytest
import torch
from torch.nn.functional import normalize

from owdfa.methods.gcd import GCD, GCDSettings
from owdfa.records.training import Features, Progress
from small_networks import backbone, batch, losses

LABELS = [0, 1, -1, -1, 2, -1, -1, 1]


def method(num_classes=5, **settings):
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "bottleneck_dim": 8, "projection_dim": 12, "kmeans_starts": 5}
    return GCD(backbone(), 3, num_classes, GCDSettings(**{**small, **settings}))


def blobs(gcd, per_class=20):
    """Embeddings around one direction a class, those of the known classes half labelled."""
    directions = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    truth = torch.arange(5).repeat_interleave(per_class)
    noise = 0.02 * torch.randn(len(truth), 6, generator=torch.Generator().manual_seed(2))
    lengths = torch.rand(len(truth), 1, generator=torch.Generator().manual_seed(3)) + 0.5
    labels = truth.where((truth < 3) & (torch.arange(len(truth)) % 2 == 0), torch.tensor(-1))
    return (normalize(directions)[truth] + noise) * lengths, labels, truth


def test_a_new_image_goes_to_the_nearest_centre():
    gcd = method()
    embeddings, labels, truth = blobs(gcd)
    gcd.finish(embeddings, labels)
    found = gcd.classify(Features(embeddings))
    guess = found.argmax(dim=1)
    assert (guess[truth < 3] == truth[truth < 3]).all()  # known classes are where they were
    assert {tuple(guess[truth == k].unique().tolist()) for k in (3, 4)} == {(3,), (4,)}
    distances = torch.cdist(normalize(embeddings), gcd.centres).square()
    torch.testing.assert_close(found, -distances / 0.1, rtol=1e-4, atol=1e-4)


def test_the_length_of_an_embedding_says_nothing():
    gcd = method()
    embeddings, labels, _ = blobs(gcd)
    gcd.finish(embeddings, labels)
    centres = gcd.centres.clone()
    torch.manual_seed(0)
    other = method()
    other.finish(3 * embeddings, labels)
    torch.testing.assert_close(other.centres, centres)


def test_centres_are_fitted_alike_with_the_same_seed():
    found = []
    for _ in range(2):
        gcd = method()
        embeddings, labels, _ = blobs(gcd)
        torch.manual_seed(7)
        gcd.finish(embeddings + 0.5 * torch.randn(embeddings.shape), labels)
        found.append(gcd.centres)
    assert torch.equal(*found)


@pytest.mark.parametrize("keep", ["labelled", "unlabelled", "few"])
def test_any_training_set_can_be_fitted(keep):
    gcd = method()
    embeddings, labels, _ = blobs(gcd)
    chosen = {"labelled": labels >= 0, "unlabelled": labels < 0, "few": torch.arange(100) < 2}[keep]
    gcd.finish(embeddings[chosen], labels[chosen])
    assert gcd.centres.isfinite().all()
    assert gcd.centres.shape == (5, 6)


def test_known_centres_follow_the_labelled_images_of_an_epoch():
    gcd = method()
    assert not gcd(batch(LABELS).views[0]).logits.isnan().any()  # before anything is fitted
    images = batch(LABELS)
    embedding = normalize(gcd.features(images.views[0]).embedding.detach())
    losses(gcd, images, Progress(0, 2))
    gcd.end_epoch(Progress(0, 2))
    expected = torch.stack([embedding[images.labels == k].mean(dim=0) for k in range(3)])
    torch.testing.assert_close(gcd.centres[:3], expected)
    assert not gcd.centres[3:].any()
    assert not gcd.class_sums.any()
    assert not gcd.class_counts.any()
    losses(gcd, batch([0, -1, -1, -1]), Progress(1, 2))
    gcd.end_epoch(Progress(1, 2))
    torch.testing.assert_close(gcd.centres[1:3], expected[1:])  # of the last epoch that had one


def test_objective_is_the_papers_sum():
    found = losses(method(supervised_weight=0.2), batch(LABELS), Progress(0, 4))
    expected = 0.8 * found.terms["ucon"] + 0.2 * found.terms["scon"]
    assert found.total.item() == pytest.approx(expected.item())
