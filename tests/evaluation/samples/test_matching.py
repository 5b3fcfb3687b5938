"""Which file belongs to which pair: by name, last part of it or number; what does not fit."""

from pathlib import Path

import numpy as np
import pytest
from given_files import SAMPLES, pairs, samples, write
from picture_files import save

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.samples.given import GivenSamples
from dbim_lightning.evaluation.samples.matching import by_last_part, by_name, by_number, matched


def files(*names):
    """As a folder holds them: name without suffix, and path."""
    return [(name, Path(f"{name}.png")) for name in names]


def test_by_name_compares_sub_folders_too():
    match = by_name(["a/1", "b/1"], files("a/1", "1"))
    assert match.keys == ["a/1", "b/1"]
    assert match.files == {"a/1": Path("a/1.png"), "1": Path("1.png")}
    assert match.num_found() == 1


def test_by_last_part_leaves_out_the_folders_of_pairs_alone():
    match = by_last_part(["a/1", "b/c/2", "3"], files("1", "2", "a/3"))
    assert match.keys == ["1", "2", "3"]
    assert match.num_found() == 2


def test_by_last_part_finds_nothing_where_two_pairs_share_it():
    match = by_last_part(["a/1", "b/1", "2"], files("1", "2"))
    assert (match.keys, match.num_found()) == ([], 0)


def test_by_number_takes_zeros_before_it_or_not():
    match = by_number([7, 40, 100], files("007", "40", "100", "8"))
    assert [match.files.get(key) for key in match.keys] == [
        Path("007.png"),
        Path("40.png"),
        Path("100.png"),
    ]
    assert match.num_found() == 3


def test_two_files_of_one_number_are_refused_by_number_alone():
    two = files("7", "07")
    assert by_name(["7", "07"], two).num_found() == 2
    with pytest.raises(UserError, match=r"7\.png and 07\.png have one name: remove one"):
        by_number([7], two)


def test_two_files_of_one_name_and_different_kinds_are_refused():
    two = [("a", Path("a.jpg")), ("a", Path("a.png"))]
    for match in (by_name, by_last_part):
        with pytest.raises(UserError, match=r"a\.jpg and a\.png have one name: remove one"):
            match(["a"], two)


def test_the_files_of_a_folder_come_in_the_order_of_the_pairs(tmp_path):
    write(tmp_path, "{}")
    data = pairs("class/{}")[::-1]
    assert matched(tmp_path, data) == [tmp_path / f"{pair['index']}.png" for pair in data]


def test_last_parts_of_names_where_some_names_have_no_more(tmp_path):
    data = [pair | {"name": f"{'deep/' * (i % 2)}{i}"} for i, pair in enumerate(pairs())]
    assert np.array_equal(samples(GivenSamples(write(tmp_path, "{}"), data)), SAMPLES)


def test_last_parts_that_are_not_unique_are_no_names(tmp_path):
    data = [pair | {"name": f"{i}/image"} for i, pair in enumerate(pairs())]
    save(tmp_path / "image.png", SAMPLES[0])
    with pytest.raises(UserError, match=r"lacks the samples of 70 of 70 pairs \(0/image, "):
        GivenSamples(tmp_path, data)


def test_missing_and_surplus_images_are_named(tmp_path):
    write(tmp_path, "{:03}.x")
    save(tmp_path / "more" / "else.png", SAMPLES[0])
    with pytest.raises(UserError, match=r"has 1 images that belong to no pair \(more/else\.png\)"):
        GivenSamples(tmp_path, pairs())
    for i in range(12):
        (tmp_path / f"{i:03}.x.png").unlink()
    first_ten = r"\(000\.x, 001\.x, .*, 009\.x, \.\.\.\)"
    with pytest.raises(UserError, match=rf"lacks the samples of 12 of 70 pairs {first_ten}"):
        GivenSamples(tmp_path, pairs())


def test_numbers_are_no_index_where_some_are_names(tmp_path):
    write(tmp_path, "{}")
    data = [pair | {"name": str(pair["index"] + 1)} for pair in pairs()]
    with pytest.raises(UserError, match=r"lacks the samples of 1 of 70 pairs \(70\)"):
        GivenSamples(tmp_path, data)


def test_two_files_of_one_name(tmp_path):
    write(tmp_path, "{}")
    save(tmp_path / "07.png", SAMPLES[0])
    with pytest.raises(UserError, match=r"07\.png and .*7\.png have one name: remove one"):
        GivenSamples(tmp_path, pairs())
