"""What the program prints can be pasted: the shell and Hydra give back the very path."""

import shlex
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dbim_lightning.commands import path, word

PLAIN = ["data/bags", "/a/b.c/64px", "../photos-2_x", "2024_photos", "a@b", "50%"]
NASTY = ["", " ", "a b", " a", "a ", "a\tb", "a\nb", "a=b", "(x)", "a,b", "~a", "a:b", "{a}"]
NASTY += ["[1,2]", "it's", 'say "hi"', "''", "\\", "a\\b", "end\\", "a\\'b", "a\\\\", "a\\\n"]
NASTY += ["x\\ y", "$HOME", "$(x)", "${x}", "\\${x}", "\\\\${x}", "a$", "a;b", "a&b|c", "*", "?"]
NASTY += ["!x", "#", "1", "-1", "1.5", ".5", "1e3", "1_000", "inf", "nan", "null", "True", "false"]
NASTY += ["café/x", "日本", "a\udcffb", "a`b`", "<a>", "a%s{}"]


def parsed(text: str) -> object:
    """The value that a command gets from a word of its command line."""
    (argument,) = shlex.split(text)
    override = OverridesParser.create().parse_override(argument)
    assert override.key_or_group == "dataset.root"
    assert not override.is_sweep_override()
    again = OverridesParser.create().parse_override(f"a={override.get_value_element_as_str()}")
    assert again.value() == override.value()  # as a sweep hands it to its jobs
    return OmegaConf.create({"root": override.value()}).root


@pytest.mark.parametrize("value", [*PLAIN, *NASTY])
def test_a_path_comes_back_from_shell_and_hydra_as_it_was(value):
    found = parsed(word("dataset.root", value))
    assert (type(found), found) == (str, value)
    assert shlex.split(path(value)) == [value]


@pytest.mark.parametrize("value", PLAIN)
def test_plain_paths_stay_plain(value):
    assert word("dataset.root", Path(value)) == f"dataset.root={value}"


@pytest.mark.parametrize("value", [None, True, 20, 0.5, 1e-06])
def test_other_values_keep_their_type(value):
    assert parsed(word("dataset.root", value)) == value


@pytest.mark.parametrize("value", ["it's (1), $x\\", "${a}='b'", "two\nlines"])
def test_a_real_shell_reads_the_same_words(value):
    done = subprocess.run(
        ["sh", "-c", f"printf '%s|' {path(value)} {word('dataset.root', value)}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{value}|{shlex.split(word('dataset.root', value))[0]}|"
