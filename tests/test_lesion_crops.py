"""The box around a lesion: it holds the outline with its margin, is of the photograph's shape, and stays within it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.lesion_crops import MARGIN, box

SIZE = (450, 600)


@given(st.integers(0, 95), st.integers(0, 127), st.integers(4, 96), st.integers(4, 128))
def test_the_box_holds_the_outline_and_has_the_shape_of_the_photograph(top, left, height, width):
    outline = np.zeros((96, 128), np.uint8)
    outline[top : top + height, left : left + width] = 200
    if outline.mean() < 200 * 0.005:
        return
    high, near, low, far = box(outline, SIZE)
    assert 0 <= high < low <= SIZE[0]
    assert 0 <= near < far <= SIZE[1]
    assert (far - near) / (low - high) == pytest.approx(4 / 3, abs=0.03)
    rows, columns = (np.flatnonzero(outline.any(axis=axis)) for axis in (1, 0))
    assert high <= rows[0] / 96 * SIZE[0] + 1
    assert low >= (rows[-1] + 1) / 96 * SIZE[0] - 1
    assert near <= columns[0] / 128 * SIZE[1] + 1
    assert far >= (columns[-1] + 1) / 128 * SIZE[1] - 1
    longest = max(len(rows) / 96, len(columns) / 128)
    assert (low - high) / SIZE[0] == pytest.approx(min(longest * (1 + 2 * MARGIN), 1), abs=0.01)


def test_where_hardly_anything_is_inside_it_is_the_whole_photograph():
    outline = np.full((96, 128), 127, np.uint8)
    assert box(outline, SIZE) == (0, 0, *SIZE)
    outline[4, 4:9] = 255
    assert box(outline, SIZE) == (0, 0, *SIZE)
