"""The folder of each job in a sweep is one folder below that of the sweep, whatever was asked."""

import hydra
import pytest

from dbim_lightning.resolvers import CONF


def subdir(*overrides: str) -> str:
    """Of the first job."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("evaluate", list(overrides), return_hydra_config=True)
    cfg.hydra.job.num, cfg.hydra.job.override_dirname = 0, ",".join(overrides)
    return cfg.hydra.sweep.subdir


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "0_"),
        (["nfe=5", "sampler.eta=0.5"], "0_nfe=5,sampler.eta=0.5"),
        (["+dataset.root=/a/b"], "0_+dataset.root=_a_b"),
        (["+dataset.root='C:\\a \\${x} ü'"], "0_+dataset.root=_C__a___x__ü_"),
    ],
)
def test_a_path_is_no_path_in_it(overrides, expected):
    assert subdir(*overrides) == expected


@pytest.mark.parametrize("letter", ["x", "日"])
def test_it_is_short_enough_for_any_file_system(letter):
    name = subdir(f"+dataset.root={letter * 300}" if letter == "x" else f"+a='{letter * 300}'")
    assert 90 < len(name.encode()) <= 110
