"""Statistics of the table: order statistics, and what n trials say about trials that were not made."""
import math


def spread(values):
    """Minimum, median, 95th percentile (nearest rank) and maximum; None without values."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return ordered[0], median, ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1]


def at_most(count, n, p):
    """The probability of at most count events in n trials that each have one with probability p."""
    return sum(math.comb(n, k) * p ** k * (1 - p) ** (n - k) for k in range(count + 1))


def bound(count, n):
    """The largest rate that n trials with count events do not exclude with 95 % confidence (Clopper-Pearson, one-sided).

    Without events it is 1 - 0.05^(1/n), for which the rule of three, 3 / n, is the usual approximation.
    """
    if count >= n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if at_most(count, n, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high
