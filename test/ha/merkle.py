"""RFC 9162's tree as a stranger computes it: roots over leaf hashes, and whether a consistency proof holds.

Written from the RFC (sections 2.1.1 and 2.1.4.2) and not from the extension, which it checks.
"""
import hashlib

EMPTY = hashlib.sha256(b'').digest()


def node(left, right):
    return hashlib.sha256(b'\x01' + left + right).digest()


class Roots:
    """Roots of all the trees that a list of leaf hashes has grown through, asked for in ascending order of size."""

    def __init__(self, leaves):
        self.leaves, self.size, self.subtrees = leaves, 0, []

    def at(self, size):
        """The root over the first leaves."""
        if not self.size <= size <= len(self.leaves):
            raise ValueError('no root of size %d after %d among %d leaves' % (size, self.size, len(self.leaves)))
        for leaf in self.leaves[self.size:size]:
            self._append(leaf)
        if not self.subtrees:
            return EMPTY
        root = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            root = node(left, root)
        return root

    def _append(self, leaf):
        """The subtrees are perfect, and as many as the size has ones in binary."""
        size = self.size
        while size & 1:
            leaf = node(self.subtrees.pop(), leaf)
            size >>= 1
        self.subtrees.append(leaf)
        self.size += 1


def is_consistent(old_size, old_root, size, root, proof):
    """Whether the proof shows that the old tree is a prefix of the new one."""
    if old_size == size:
        return not proof and old_root == root
    if not 0 < old_size < size:
        return False
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for entry in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node(entry, old), node(entry, new)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node(new, entry)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old == old_root and new == root
