import pytest

from dbim_lightning.data.stream import ShuffledStream
from dbim_lightning.errors import UserError


def test_each_permutation_covers_all():
    indices = list(ShuffledStream(7, 21, seed=3))
    rounds = [indices[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(part) == list(range(7)) for part in rounds)
    assert rounds[0] != rounds[1] != rounds[2]


def test_seeds_differ_and_repeat():
    assert list(ShuffledStream(50, 50, seed=0)) == list(ShuffledStream(50, 50, seed=0))
    assert list(ShuffledStream(50, 50, seed=0)) != list(ShuffledStream(50, 50, seed=1))


@pytest.mark.parametrize("start", [0, 6, 7, 20, 24])
def test_start_gives_the_tail_and_the_same_length(start):
    stream = ShuffledStream(7, 24, seed=3, start=start)
    assert list(stream) == list(ShuffledStream(7, 24, seed=3))[start:]
    assert len(stream) == 24


def test_ranks_partition_the_stream():
    whole = list(ShuffledStream(7, 24, seed=3))
    for start in (0, 9):
        shares = [ShuffledStream(7, 24, 3, start, rank, world_size=3) for rank in range(3)]
        assert [len(share) for share in shares] == [8, 8, 8]
        together = zip(*shares, strict=True)
        assert [index for step in together for index in step] == whole[start:]


def test_no_images():
    with pytest.raises(UserError, match="no images"):
        ShuffledStream(0, 10, seed=0)
