"""Files of other persons name nothing that is imported or called, and read no environment."""

import re
import sys
from pathlib import Path

import pytest
import torch
from commands import ROOT, run
from hostile_files import naming as hostile
from omegaconf import OmegaConf

import dbim_lightning
from dbim_lightning import composing, config, earlier
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import latents, tune
from dbim_lightning.evaluation.origin import named_bridge
from dbim_lightning.options import EVALUATE
from dbim_lightning.sampler_files import read_sampler_file, take_sampler_files
from dbim_lightning.strangers import inert, require_harmless
from dbim_lightning.training import read_initial
from dbim_lightning.weights import CONFIG_KEY, __main__, read_denoiser

REFUSED = "no class that a file may name"
NODES = ["dataset", "data", "data.dataset", "sampler", "sampler.grid", "objective", "trainer"]
NODES += ["denoiser", "denoiser.network", "denoiser.schedule", "denoiser.preconditioning"]
NODES += ["training.optimizer", "training.ema", "evaluation.metrics"]
NODES += ["evaluation.metrics.measured.paired", "dataset.made_with", "anything.nested"]
TARGETS = ["os.mkdir", "subprocess.Popen", "builtins.exec", "dbim_lightning.files.write_whole"]
TARGETS += ["dbim_lightning.data.packed.hashlib", "dbim_lightning.data.packed.Path", "torch.load"]
TARGETS += ["dbim_lightning.data.prepare.recipe.Recipe", "dbim_lightning.data.packed.pack", "eval"]
TARGETS += ["dbim_lightning.training.callbacks.shutil.rmtree", "lightning.Trainer.fit", "", None]
TARGETS += ["torch.optim.swa_utils.copy", "torch.optim.lr_scheduler", "torch.optim.Optimizer.step"]
TARGETS += ["dbim_lightning.samplers.DBIM.__init__", "dbim_lightning.data.packed._Encoded"]
TARGETS += [3, ["os.mkdir"]]


@pytest.fixture(scope="module")
def content(trained):
    return torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.fixture
def made(tmp_path):
    """What a hostile file would make, if it could."""
    yield tmp_path / "made"
    assert not (tmp_path / "made").exists()


def test_an_honest_file_is_taken(content, tmp_path):
    require_harmless(content[CONFIG_KEY], "it")
    same = hostile(content, tmp_path / "a.ckpt", "seed", 0)
    assert read_denoiser(same).config == content[CONFIG_KEY]


def test_all_choices_of_conf_may_be_named():
    texts = [path.read_text() for path in (ROOT / "conf").rglob("*.yaml")]
    targets = {target for text in texts for target in re.findall(r"_target_: ([\w.]+)", text)}
    assert len(targets) > 30
    for target in targets - {
        "dbim_lightning.evaluate.Summary",
        "dbim_lightning.config.LeavesNothing",
    }:
        require_harmless({"_target_": target}, "it")
    for target in ("torch.optim.SGD", "dbim_lightning.evaluation.features.network.FeatureNetwork"):
        require_harmless({"_target_": target}, "it")


@pytest.mark.parametrize("place", NODES)
@pytest.mark.parametrize("wrap", [lambda node: node, lambda node: [0, {"deep": [node]}]])
def test_no_node_makes_what_it_likes(content, tmp_path, made, place, wrap):
    node = wrap({"_target_": "os.mkdir", "path": str(made)})
    schedule = {"schedule": content[CONFIG_KEY]["denoiser"]["schedule"]}
    small = {"global_step": 1, "current_model_state": {"denoiser.w": torch.ones(1)}}
    small[CONFIG_KEY] = {"denoiser": schedule}
    if place == "denoiser":
        node = {"_target_": "os.mkdir", **schedule}
    if place == "denoiser.schedule":
        node = {"deep": node}
    path = hostile(small, tmp_path / "a.ckpt", place, node)
    with pytest.raises(UserError, match=rf"a\.ckpt: {re.escape(place)}[\w.]*\._target_=os\.mkdir"):
        read_denoiser(path)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_no_class_of_this_project_is_not_even_imported(target):
    before = set(sys.modules)
    with pytest.raises(UserError, match=REFUSED) as error:
        require_harmless({"a": [{"_target_": target}]}, "it")
    assert "\n" not in str(error.value) and set(sys.modules) == before


def test_what_the_user_trusts_is_taken_and_nothing_else():
    own = {"_target_": "discs.Discs"}
    require_harmless(own, "it", ["discs"])
    require_harmless(own, "it", ["discs.Discs"])
    for others in (["geometric"], ["disc"], ["discs.Disc"], ["discs.Discs.x"]):
        with pytest.raises(UserError, match=r"give trusted=\[discs\]"):
            require_harmless(own, "it", others)
    with pytest.raises(UserError, match=REFUSED):
        require_harmless({"_target_": "lightning.Trainer.fit"}, "it", ["lightning.Trainer"])
    several = {"a": own, "b": [{"_target_": "geometric.Geometric"}], "c": {"_target_": "os.mkdir"}}
    with pytest.raises(UserError, match=r"a\._target_=discs.*trusted=\[discs,geometric\]$"):
        require_harmless(several, "it")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${oc.env:HOME}", r"a\.b=.*would be interpolated"),
        (["x${seed}"], r"a\.b\.0='x.*would be interpolated"),
        ({"_args_": [1]}, r"a\.b has the key '_args_'"),
        ({3: 1}, r"a\.b has the key 3"),
        (torch.ones(1), r"a\.b is a Tensor"),
        ((1, 2), r"a\.b is a tuple"),
    ],
)
def test_only_plain_values_are_taken(value, message):
    with pytest.raises(UserError, match=f"it: {message}"):
        require_harmless({"a": {"b": value}}, "it")


def test_lists_that_hold_one_another_end():
    value = ["x"]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(UserError, match="more than"):
        require_harmless({"a": value}, "it")
    round_about = {}
    round_about["a"] = round_about
    with pytest.raises(UserError, match="holds more than a configuration can"):
        require_harmless(round_about, "it")


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_python_and_programs_refuse_a_hostile_file(content, tmp_path, made, monkeypatch, suffix):
    node = {"_target_": "os.mkdir", "path": str(made)}
    path = hostile(content, tmp_path / f"a{suffix}", "dataset", node)
    words = [f"{'weights' if suffix == '.safetensors' else 'checkpoint'}={path}"]
    cfg = config.configured("evaluate", words, EVALUATE)
    argv = ["weights", "export", str(path), "-o", str(tmp_path / "b.safetensors")]
    monkeypatch.setattr(sys, "argv", argv)
    imported = __main__.published_config("adm_tiny", "vp")
    for call in (
        lambda: dbim_lightning.load(path),
        lambda: named_bridge(cfg, torch.device("cpu")),
        lambda: read_initial(path, {}),
        lambda: tune.make_tuning(words, None),
        lambda: latents.make_study(words, [5]),
        __main__.main,
        lambda: __main__.import_weights(path, imported),
    ):
        with pytest.raises(UserError, match=REFUSED) as error:
            call()
        assert "\n" not in str(error.value)


def test_a_hostile_sampler_in_a_weights_file(content, tmp_path, made):
    node = {"5": {"_target_": "os.mkdir", "path": str(made)}}
    path = hostile(content, tmp_path / "a.safetensors", "samplers", node)
    with pytest.raises(UserError, match=REFUSED):
        dbim_lightning.load_sampler(path, 5)


@pytest.mark.parametrize("word", ["train.py resume", "evaluate.py checkpoint"])
def test_scripts_end_with_one_line(content, tmp_path, made, word):
    script, key = word.split()
    node = {"_target_": "os.mkdir", "path": str(made)}
    path = hostile(content, tmp_path / "a.ckpt", "training.optimizer", node)
    told = run(script, f"{key}={path}", f"hydra.run.dir={tmp_path / 'run'}", status=1)
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert "training.optimizer._target_=os.mkdir" in line and "Traceback" not in told


def test_the_command_line_alone_says_what_is_trusted(content):
    cfg = composing.compose("train", ["resume=a.ckpt", "trusted=[mine]"])
    theirs = content[CONFIG_KEY] | {"trusted": ["os"], "resume": "/etc/passwd", "weights": "b"}
    again = earlier.resumed(theirs, cfg, ["resume=a.ckpt", "trusted=[mine]"])
    assert (again.trusted, again.resume, again.weights) == (["mine"], "a.ckpt", None)
    assert {"mine", "dbim_lightning.data.OpenMoji"} <= config.trusted(cfg)
    assert "os" not in config.trusted(cfg)
    with pytest.raises(UserError, match="trusted=mine: give a list"):
        config.trusted(composing.compose("train", ["trusted=mine"]))


SAMPLER = "_target_: dbim_lightning.samplers.DBIM\neta: 1.0\n"
CALL = "_target_: os.mkdir\npath: made\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CALL, REFUSED),
        ("# @package _global_\nhydra: {callbacks: {a: {_target_: os.mkdir}}}\n", "is no sampler"),
        (f"{SAMPLER}hydra: {{callbacks: {{a: {{_target_: os.mkdir, path: made}}}}}}\n", REFUSED),
        (f"{SAMPLER}grid: {{_target_: subprocess.Popen, args: 'true'}}\n", REFUSED),
        (f"defaults: [/network: adm_tiny]\n{SAMPLER}", "composes other files"),
        (f"{SAMPLER}note: ${{oc.env:HOME}}\n", "would be interpolated"),
        (f"{SAMPLER}note: !!python/object/apply:os.mkdir [made]\n", "cannot be read"),
        (f"{SAMPLER}a: &a [1]\nb: *a\n", "aliases"),
        ("[1", "cannot be read"),
        ("1", "cannot be read"),
        ("a", "is no sampler"),
    ],
)
def test_sampler_files_neither_compose_nor_call(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        take_sampler_files(["sampler=a.yaml"])
    assert not Path("made").exists()


def test_a_sampler_file_reaches_hydra_as_plain_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuned = "tuned: {nfe: 5, dataset: {_target_: discs.Discs}}\n"
    Path("a.yaml").write_text(f"# @package _global_\n{SAMPLER}{tuned}")
    searchpath, word = take_sampler_files(["sampler=a.yaml"])
    written = Path(searchpath.partition("file://")[2][:-1]) / "sampler" / "a.yaml"
    assert word == "sampler=a" and "@package" not in written.read_text()
    assert OmegaConf.load(written) == inert(
        {"tuned": {"nfe": 5, "dataset": {"_target_": "discs.Discs"}}}
    ) | {"_target_": "dbim_lightning.samplers.DBIM", "eta": 1.0}
    Path("b.yaml").write_text("_target_: mine.Sampler\n")
    with pytest.raises(UserError, match=r"trusted=\[mine\]"):
        take_sampler_files(["sampler=b.yaml"])
    assert take_sampler_files(["trusted=[mine]", "sampler=b.yaml"])[-1] == "sampler=b"
    assert read_sampler_file(Path("b.yaml"), ["mine"]) == {"_target_": "mine.Sampler"}
