"""Features of cells, and of frequency bands, of a feature map."""

import pytest
import torch

from owdfa.layers import CellNecks, Neck, haar_bands, pool_cells


def test_every_cell_has_a_neck_of_its_own():
    maps = 3 * torch.randn(6, 4, 9, 7) + 1
    cells, separate = CellNecks(4, 3), [Neck(4) for _ in range(9)]
    for training in (True, False):
        found = cells.train(training)(maps)
        pooled = pool_cells(maps, 3).flatten(2)
        for p, neck in enumerate(separate):
            expected = neck.train(training)(pooled[:, :, p, None, None])
            torch.testing.assert_close(found[:, :, p], expected)


@pytest.mark.parametrize("size", [(6, 4), (5, 7)])
def test_haar_bands_by_hand(size):
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    rows, columns, both = haar_bands(maps)
    padded = torch.zeros(2, 3, size[0] + size[0] % 2, size[1] + size[1] % 2, dtype=torch.float64)
    padded[:, :, : size[0], : size[1]] = maps
    for y in range(rows.shape[2]):
        for x in range(rows.shape[3]):
            a, b = padded[:, :, 2 * y, 2 * x], padded[:, :, 2 * y, 2 * x + 1]
            c, d = padded[:, :, 2 * y + 1, 2 * x], padded[:, :, 2 * y + 1, 2 * x + 1]
            torch.testing.assert_close(rows[:, :, y, x], (a + b - c - d) / 2)
            torch.testing.assert_close(columns[:, :, y, x], (a - b + c - d) / 2)
            torch.testing.assert_close(both[:, :, y, x], (a - b - c + d) / 2)
