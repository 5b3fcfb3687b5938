"""Which file belongs to which pair: by name, last part of it or number; what does not fit."""

import re
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import torch
from given_files import SAMPLES, pairs, samples, write
from picture_files import save

from dbim_lightning.errors import UserError
from dbim_lightning.evaluation.samples.given import GivenSamples
from dbim_lightning.evaluation.samples.matching import by_last_part, by_name, by_number, matched

TARGETS = torch.from_numpy(SAMPLES).permute(0, 3, 1, 2) / 127.5 - 1


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


def named(*names):
    """Pairs of these names, whose targets are the samples of these indices."""
    return [
        {"x_0": target, "x_T": target / 2, "index": i, "name": name}
        for i, (target, name) in enumerate(zip(TARGETS, names, strict=False))
    ]


def mse(given):
    """Of samples and targets."""
    errors = [(i.samples.double() - i.targets.double()).square().mean().item() for i in given]
    return sum(errors) / len(errors)


IN_TEXT_ORDER = [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("name", ["img{}", "{}", "s1/img{}.x", "{:02}0_x"])
@pytest.mark.parametrize("file", ["{:05}", "{}", "out-{:03}"])
def test_numbers_in_the_names_of_pairs_are_compared_as_numbers(tmp_path, capsys, name, file):
    factor = 10 if "0_x" in name else 1
    for position, i in enumerate(IN_TEXT_ORDER):
        save(tmp_path / f"{file.format(factor * i)}.png", SAMPLES[position])
    given = GivenSamples(tmp_path, named(*(name.format(i) for i in IN_TEXT_ORDER)))
    assert mse(given) == 0
    told = "numbers are those in the names of the pairs, not their indices"
    by_name = name == file
    assert (told in capsys.readouterr().out) == (factor == 1 and not by_name)


def test_the_same_number_by_name_and_by_index_needs_no_word(tmp_path, capsys):
    for i in range(12):
        save(tmp_path / f"{i:05}.png", SAMPLES[i])
    assert mse(GivenSamples(tmp_path, named(*(f"img{i:02}" for i in range(12))))) == 0
    assert "not their indices" not in capsys.readouterr().out


def test_numbers_that_are_those_of_no_name_are_indices(tmp_path):
    for i in range(12):
        save(tmp_path / f"{i:05}.png", SAMPLES[i])
    assert mse(GivenSamples(tmp_path, named(*(f"img{100 + i}" for i in range(12))))) == 0
    assert mse(GivenSamples(tmp_path, named(*"abcdefghijkl"))) == 0


def test_numbers_that_are_neither_are_refused_with_both(tmp_path):
    for i in range(5, 17):
        save(tmp_path / f"{i:05}.png", SAMPLES[0])
    with pytest.raises(
        UserError,
        match=r"has 12 images for 12 pairs, and their numbers \(5 to 16\) are not the numbers in "
        r"the names of the pairs \(1 to 12\), nor the indices of the pairs \(0 to 11\): name each",
    ):
        GivenSamples(tmp_path, named(*(f"img{i}" for i in range(1, 13))))
    with pytest.raises(UserError, match=r"\(5 to 16\) are not the indices of the pairs \(0 to 2\)"):
        GivenSamples(tmp_path, named(*"abc"))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_letter_in_two_forms_is_one_name(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    names = ["für/Öl", "für/Äpfel", "für/Süßes"]
    for i, name in enumerate(names):
        save(tmp_path / f"{normalize(form, name)}.png", SAMPLES[i])
    assert mse(GivenSamples(tmp_path, named(*(normalize(other, name) for name in names)))) == 0


def test_several_pairs_of_one_name_are_refused(tmp_path):
    save(tmp_path / "a.png", SAMPLES[0])
    save(tmp_path / "b.png", SAMPLES[1])
    with pytest.raises(UserError, match=r"several pairs are called a, so that no file"):
        GivenSamples(tmp_path, named("a", "a", "b"))


@pytest.mark.parametrize("kind", ["folder", "array"])
def test_a_pairing_no_better_than_a_shuffled_one_is_warned_of(tmp_path, caplog, kind):
    def given(samples):
        path = tmp_path / "given.npz"
        if kind == "array":
            np.savez(path, samples)
        else:
            path = tmp_path / "given"
            for i, pixels in enumerate(samples):
                save(path / f"{i}.png", pixels)
        return GivenSamples(path, named(*(f"n{i:02}" for i in range(70))))

    assert mse(given(SAMPLES)) == 0
    assert not caplog.records
    given(np.roll(SAMPLES, 7, axis=0))
    (record,) = caplog.records
    numbers = re.search(
        r"samples in \S*given\S* are no nearer to their own targets \(MSE (0\.\d{4})\) than to "
        r"those of other pairs \((0\.\d{4})\): check their order",
        record.getMessage(),
    )
    shuffled, some = np.roll(SAMPLES, 7, axis=0), np.linspace(0, 69, 64).astype(int)
    wanted = ((shuffled[some] / 127.5 - SAMPLES[some] / 127.5) ** 2).mean()
    assert float(numbers[1]) == pytest.approx(wanted, abs=1e-4)
