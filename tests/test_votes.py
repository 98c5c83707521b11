import pytest
import torch

from owdfa.votes import (
    band_similarity,
    cast_votes,
    choose_partners,
    confirms,
    nearest_neighbours,
    part_similarity,
)


def features(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cosine(one, other):
    return float(one @ other / (one.norm() * other.norm()))


def test_the_nearest_neighbour_is_the_nearest_other_image():
    embedding = features(7, 4)
    found = nearest_neighbours(embedding).tolist()
    for i, neighbour in enumerate(found):
        others = {j: cosine(embedding[i], embedding[j]) for j in range(7) if j != i}
        assert neighbour == max(others, key=others.get)


def test_of_two_copies_each_is_the_others_neighbour():
    embedding = features(5, 4)
    embedding[3] = 2 * embedding[1]
    found = nearest_neighbours(embedding)
    assert (found[1], found[3]) == (3, 1)


def test_part_similarity_by_hand():
    parts = features(4, 3, 5)
    found = part_similarity(parts)
    for i in range(4):
        lengths = parts[i].norm(dim=0)
        for r in range(4):
            terms = [
                cosine(parts[i, :, p], parts[r, :, p]) * lengths[p] / lengths.norm()
                for p in range(5)
            ]
            assert found[i, r].item() == pytest.approx(float(sum(terms)))


def test_band_similarity_by_hand():
    band = features(4, 3, 5)
    found = band_similarity(band)
    for i in range(4):
        for r in range(4):
            expected = sum(cosine(band[i, :, p], band[r, :, p]) for p in range(5))
            assert found[i, r].item() == pytest.approx(expected)


def test_a_cell_without_any_feature_is_like_no_other():
    band = features(3, 3, 2)
    band[0, :, 1] = 0
    assert band_similarity(band)[0, 0].item() == pytest.approx(1)  # of two cells
    assert part_similarity(band).isfinite().all()


def test_a_pair_is_confirmed_by_second_places():
    similarity = features(6, 6)
    neighbours = torch.tensor([3, 0, 5, 1, 2, 4])
    found = confirms(similarity, neighbours).tolist()
    rows, columns = similarity.tolist(), similarity.T.tolist()
    for i, n in enumerate(neighbours.tolist()):
        assert found[i] == (sorted(rows[i])[-2] >= sorted(columns[n])[-2])


def test_votes_are_counted():
    embedding = features(6, 4)
    similarities = [features(6, 6, seed=seed) for seed in range(3)]
    votes = cast_votes(embedding, similarities)
    assert torch.equal(votes.neighbours, nearest_neighbours(embedding))
    each = [confirms(similarity, votes.neighbours) for similarity in similarities]
    assert votes.num_votes.tolist() == [sum(column) for column in zip(*each, strict=True)]


def test_partners():
    labels = torch.tensor([0, -1, 0, 1, 0, -1, -1])
    neighbours = torch.tensor([1, 0, 1, 5, 1, 4, 2])
    confirmed = torch.tensor([True, True, True, True, True, False, True])
    noise = torch.zeros(7, 7)
    noise[0, 4] = noise[2, 0] = noise[4, 2] = 1
    noise[0, 1] = noise[0, 0] = noise[2, 3] = 2  # of another class, or none, or the image itself
    found = choose_partners(labels, neighbours, confirmed, noise).tolist()
    assert found == [4, 0, 0, 3, 2, 5, 2]


def test_partners_of_a_class_are_all_drawn():
    labels = torch.tensor([0, 0, 0, 1])
    nobody = torch.zeros(4, dtype=torch.int64)
    drawn = {
        int(choose_partners(labels, nobody, nobody.bool(), torch.rand(4, 4))[0]) for _ in range(100)
    }
    assert drawn == {1, 2}


def test_features_of_half_precision_are_compared_in_whole():
    band = features(4, 3, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = band_similarity(band)
        votes = nearest_neighbours(features(4, 3).float())
    torch.testing.assert_close(found, band_similarity(band))
    assert torch.equal(votes, nearest_neighbours(features(4, 3)))
