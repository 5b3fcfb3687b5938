from itertools import islice

import pytest

from dbim_lightning.errors import UserError
from dbim_lightning.training.stream import ShuffledStream


def first(n, *args, **options):
    return [index for _, index in islice(ShuffledStream(*args, **options), n)]


def test_each_permutation_covers_all():
    indices = first(21, 7, seed=3)
    rounds = [indices[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(part) == list(range(7)) for part in rounds)
    assert rounds[0] != rounds[1] != rounds[2]


def test_seeds_differ_and_repeat():
    assert first(50, 50, seed=0) == first(50, 50, seed=0)
    assert first(50, 50, seed=0) != first(50, 50, seed=1)


@pytest.mark.parametrize("start", [0, 6, 7, 20, 23])
def test_start_gives_the_tail(start):
    assert first(24 - start, 7, seed=3, start=start) == first(24, 7, seed=3)[start:]


def test_ranks_partition_the_stream():
    whole = first(24, 7, seed=3)
    for start in (0, 9):
        shares = [first(5, 7, 3, start, rank, world_size=3) for rank in range(3)]
        together = [index for step in zip(*shares, strict=True) for index in step]
        assert together == whole[start : start + 15]


def test_no_images():
    with pytest.raises(UserError, match="no images"):
        ShuffledStream(0, seed=0)
