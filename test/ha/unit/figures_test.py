"""Statistics, against values known from elsewhere."""
import unittest

import figures


class Figures(unittest.TestCase):
    def test_spread(self):
        assert figures.spread([]) is None and figures.spread([None]) is None
        assert figures.spread([4.0]) == (4.0, 4.0, 4.0, 4.0)
        assert figures.spread([3, 1, None, 2, 10]) == (1, 2.5, 10, 10)
        assert figures.spread(range(1, 101)) == (1, 50.5, 95, 100)

    def test_bounds(self):
        for n in (10, 50, 300):
            assert abs(figures.bound(0, n) - (1 - 0.05 ** (1 / n))) < 1e-9
        assert abs(figures.bound(0, 300) - 3 / 300) < 1e-4
        assert abs(figures.bound(1, 50) - 0.09140) < 1e-4
        assert abs(figures.bound(2, 5) - 0.81074) < 1e-4
        assert figures.bound(3, 3) == 1.0
