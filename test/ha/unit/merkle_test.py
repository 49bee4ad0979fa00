"""The tree, against the plain definition of RFC 9162 and proofs made by it."""
import hashlib
import unittest

import merkle


def leaf(number):
    return hashlib.sha256(b'\0%d' % number).digest()


def split(n):
    return 1 << (n - 1).bit_length() - 1


def root(leaves):
    """MTH of RFC 9162, 2.1.1."""
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b'\1' + root(leaves[:k]) + root(leaves[k:])).digest()


def proof(m, leaves, complete=True):
    """SUBPROOF of RFC 9162, 2.1.4.1."""
    n = len(leaves)
    if m == n:
        return [] if complete else [root(leaves)]
    k = split(n)
    if m <= k:
        return proof(m, leaves[:k], complete) + [root(leaves[k:])]
    return proof(m - k, leaves[k:], False) + [root(leaves[:k])]


class Merkle(unittest.TestCase):
    def test_roots_are_those_of_the_definition(self):
        leaves = [leaf(number) for number in range(70)]
        roots = merkle.Roots(leaves)
        assert roots.at(0) == hashlib.sha256(b'').digest()
        for size in range(1, 71):
            assert roots.at(size) == root(leaves[:size]), size

    def test_roots_are_asked_for_in_order_and_within(self):
        roots = merkle.Roots([leaf(0), leaf(1)])
        roots.at(2)
        for size in (1, 3):
            try:
                roots.at(size)
            except ValueError:
                continue
            raise AssertionError('a root of size %d' % size)

    def test_consistency_holds_for_every_pair_of_sizes(self):
        leaves = [leaf(number) for number in range(40)]
        for n in range(1, 41):
            for m in range(1, n + 1):
                assert merkle.is_consistent(m, root(leaves[:m]), n, root(leaves[:n]), proof(m, leaves[:n])), (m, n)

    def test_consistency_fails_for_what_was_changed(self):
        leaves = [leaf(number) for number in range(23)]
        other = [leaf(99)] + leaves[1:]
        for m in range(1, 23):
            good = proof(m, leaves)
            assert not merkle.is_consistent(m, root(other[:m]), 23, root(leaves), good), m
            assert not merkle.is_consistent(m, root(leaves[:m]), 23, root(other), good), m
            assert not merkle.is_consistent(m, root(leaves[:m]), 23, root(leaves), good[:-1]), m
            assert not merkle.is_consistent(m, root(leaves[:m]), 23, root(leaves), good + [leaf(5)]), m
            assert not merkle.is_consistent(m, root(leaves[:m]), 23, root(leaves), good[:-1] + [leaf(5)]), m
        assert not merkle.is_consistent(23, root(leaves), 22, root(leaves[:22]), [])
        assert not merkle.is_consistent(0, root(leaves), 22, root(leaves[:22]), [])
        assert not merkle.is_consistent(23, root(leaves), 23, root(other), [])
