"""Working through many rows a block at a time."""

from collections.abc import Iterator


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices that cover range(total), each at most `size` long."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
