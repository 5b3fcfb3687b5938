"""Published weights come in, go out and come back, bit by bit; what does not fit is named."""

import json
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden_data import MANIFEST, fields, load, unet_options
from safetensors import safe_open
from safetensors.torch import save_file

import dbim_lightning
from dbim_lightning.bridge import I2SBSchedule, VPSchedule
from dbim_lightning.errors import UserError
from dbim_lightning.weights import (
    CONFIG_KEY,
    SavedDenoiser,
    build_denoiser,
    read_denoiser,
    write_denoiser,
)
from dbim_lightning.weights.__main__ import import_weights, published_config
from dbim_lightning.weights.formats import convert, recognise

ROOT = Path(__file__).parents[2]
SPECS = json.loads((ROOT / "tests" / "golden" / "unet_full_specs.json").read_text())
NETS = [unet for unet in MANIFEST["unets"] if unet["id"] in "ab"]


def config_of(unet, schedule="vp"):
    network = {"_target_": "dbim_lightning.networks.ADMUNet"} | unet_options(unet["constructor"])
    config = published_config("adm_tiny", schedule)
    return {"denoiser": config["denoiser"] | {"network": network}}


def as_ddbm(weights):
    """The state dict as DDBM's program writes it: attention by 2-D 1x1 convolutions."""
    is_1d = ("qkv.weight", "proj_out.weight")
    return {k: v.unsqueeze(-1) if k.endswith(is_1d) else v for k, v in weights.items()}


def as_adm(weights):
    """A diffusion model that becomes these weights: half the inputs, a variance output."""
    out = {key: torch.cat([weights[key]] * 2) for key in ("out.2.weight", "out.2.bias")}
    return weights | out | {"input_blocks.0.0.weight": weights["input_blocks.0.0.weight"][:, :3]}


@pytest.fixture(params=NETS, ids=lambda u: u["id"])
def unet(request):
    return request.param, fields(request.param["file"], "param")


def run_golden(denoiser, spec):
    arrays = load(spec["file"])
    out = denoiser.network(arrays["x"], arrays["timesteps"], arrays["xT"], arrays.get("y"))
    torch.testing.assert_close(out, arrays["out"], rtol=0, atol=spec["tolerance_abs_out"])


def test_a_weights_file_tells_nothing_of_the_command_that_made_it(tmp_path):
    config = published_config("adm_tiny", "vp")
    weights = build_denoiser(config).state_dict()
    said = {"command": ["hydra.run.dir=/home/me/runs"], "resume": "/home/me/last.ckpt"}
    write_denoiser(tmp_path / "a.safetensors", SavedDenoiser(tmp_path, config | said, weights, 0))
    assert read_denoiser(tmp_path / "a.safetensors").config == config
    assert b"/home/me" not in (tmp_path / "a.safetensors").read_bytes()


@torch.no_grad()
@pytest.mark.parametrize(("name", "write"), [("DBIM", dict), ("DDBM", as_ddbm)])
def test_import_export_load_keeps_every_bit_and_the_golden_outputs(unet, tmp_path, name, write):
    spec, weights = unet
    torch.save(write(weights), tmp_path / "published.pt")
    assert recognise(write(weights)) == name
    saved = import_weights(tmp_path / "published.pt", config_of(spec))
    write_denoiser(tmp_path / "ours.safetensors", saved)
    again = import_weights(tmp_path / "ours.safetensors", config_of(spec))
    write_denoiser(tmp_path / "again.safetensors", again)
    denoiser = dbim_lightning.load(tmp_path / "again.safetensors")
    assert not denoiser.training
    assert isinstance(denoiser.schedule, VPSchedule)
    for key, value in weights.items():
        assert torch.equal(denoiser.network.state_dict()[key], value), key
    run_golden(denoiser, spec)
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_adm_diffusion_weights_lose_their_variance_and_see_the_source(unet, tmp_path):
    spec, weights = unet
    torch.save(as_adm(weights), tmp_path / "adm.pt")
    assert recognise(as_adm(weights)) == "ADM"
    saved = import_weights(tmp_path / "adm.pt", config_of(spec, "i2sb"))
    write_denoiser(tmp_path / "ours.safetensors", saved)
    denoiser = dbim_lightning.load(tmp_path / "ours.safetensors")
    assert isinstance(denoiser.schedule, I2SBSchedule)
    state = denoiser.network.state_dict()
    first = weights["input_blocks.0.0.weight"][:, :3]
    assert torch.equal(state["input_blocks.0.0.weight"], torch.cat([first, first], dim=1))
    for key in weights.keys() - {"input_blocks.0.0.weight"}:
        assert torch.equal(state[key], weights[key]), key


@pytest.mark.parametrize("name", ["e2h", "diode"])
def test_full_ddbm_files_become_the_published_shapes(name):
    """Shapes alone, on the meta device."""
    spec = dict(SPECS["configs"][name]["state_dict"])
    changed = {k: old for k, old, _ in SPECS["ddbm_checkpoints"][name]["changed_key_old_new"]}
    original = {k: torch.empty(changed.get(k, shape), device="meta") for k, shape in spec.items()}
    assert recognise(original) == "DDBM"
    assert [[k, list(v.shape)] for k, v in convert(original).items()] == [
        [k, shape] for k, shape in spec.items()
    ]


def test_full_adm_file_becomes_the_published_shapes():
    spec = dict(SPECS["configs"]["imagenet_inpaint_center"]["state_dict"])
    with torch.device("meta"):
        original = as_adm({k: torch.empty(shape) for k, shape in spec.items()})
    assert recognise(original) == "ADM"
    converted = convert(original)
    assert {k: list(v.shape) for k, v in converted.items()} == spec


def test_file_says_what_it_is(unet, tmp_path):
    spec, weights = unet
    torch.save(weights, tmp_path / "a.pt")
    config = config_of(spec)
    write_denoiser(tmp_path / "a.safetensors", import_weights(tmp_path / "a.pt", config))
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert json.loads(file.metadata()[CONFIG_KEY]) == config
        assert set(file.keys()) == weights.keys()


def test_wrong_network_and_schedule_are_named(unet, tmp_path):
    spec, weights = unet
    torch.save(weights, tmp_path / "a.pt")
    tiny = published_config("adm_tiny", "vp")
    with pytest.raises(UserError, match=r"another network: \d+ weights differ, first network\."):
        import_weights(tmp_path / "a.pt", tiny)
    torch.save(build_denoiser(tiny).network.state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(UserError, match="they are those of --network adm_tiny"):
        import_weights(tmp_path / "tiny.pt", config_of(spec))
    write_denoiser(tmp_path / "a.safetensors", import_weights(tmp_path / "a.pt", config_of(spec)))
    with pytest.raises(UserError, match=r"VPSchedule.*--schedule that it was trained with"):
        import_weights(tmp_path / "a.safetensors", config_of(spec, "i2sb"))
    with pytest.raises(UserError, match="adm_imagenet were trained with --schedule i2sb"):
        published_config("adm_imagenet", "vp")
    with pytest.raises(UserError, match=r"Could not find 'network/nope'.*adm_tiny"):
        published_config("nope", "vp")


def test_broken_files_are_named(unet, tmp_path):
    spec, weights = unet
    path = tmp_path / "a.pt"
    torch.save(weights, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.pt is not a readable checkpoint \(not whole"):
        import_weights(path, config_of(spec))
    key = "out.2.bias"
    torch.save(weights | {key: weights[key] * torch.nan}, path)
    with pytest.raises(UserError, match=r"out\.2\.bias is not finite"):
        import_weights(path, config_of(spec))
    torch.save(weights | {key: weights[key].long()}, path)
    with pytest.raises(UserError, match=r"out\.2\.bias has whole numbers \(torch\.int64\)"):
        import_weights(path, config_of(spec))
    torch.save(list(weights.values()), path)
    with pytest.raises(UserError, match="holds a list"):
        import_weights(path, config_of(spec))
    path = tmp_path / "a.safetensors"
    save_file(weights, path)
    with pytest.raises(UserError, match="does not say how to rebuild"):
        read_denoiser(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="is not whole"):
        read_denoiser(path)


def test_a_checkpoint_without_ema_weights_is_not_judged_by_its_raw_ones(trained, tmp_path):
    content = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"] = content.pop("current_model_state")
    torch.save(content, path := tmp_path / "raw.ckpt")
    with pytest.raises(UserError, match=r"raw\.ckpt has no EMA weights.* export .*raw\.ckpt --raw"):
        read_denoiser(path)
    weights = read_denoiser(path, raw=True).weights
    assert {f"denoiser.{key}": value.sum() for key, value in weights.items()} == {
        key: value.sum() for key, value in content["state_dict"].items() if "denoiser." in key
    }


class Bomb:
    def __reduce__(self):
        return Path("ran").touch, ()


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    with Path("a.pt").open("wb") as file:
        write({"w": Bomb()}, file)
    with pytest.raises(UserError, match=r"could run any code|not a readable checkpoint"):
        import_weights(Path("a.pt"), published_config("adm_tiny", "vp"))
    assert not Path("ran").exists()


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "no_such.Thing", ""])
def test_configuration_cannot_call_anything_else(target):
    bad = {"_target_": target, "args": "true"}
    denoiser = published_config("adm_tiny", "vp")["denoiser"]
    for part in ("network", "schedule", "preconditioning"):
        with pytest.raises(UserError, match=f"{part} '|is no {part}"):
            build_denoiser({"denoiser": denoiser | {part: bad}})
    with pytest.raises(UserError, match=r"denoiser '|is no denoiser"):
        build_denoiser({"denoiser": bad})


def test_unwritable_output_leaves_nothing_behind(tmp_path):
    saved = SavedDenoiser(tmp_path, {}, {"network.w": torch.ones(3)}, 0)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").touch()
    for name in ("file/a.safetensors", "folder.safetensors"):
        with pytest.raises(UserError, match=r"cannot write .*choose another folder"):
            write_denoiser(tmp_path / name, saved)
    assert {path.name for path in tmp_path.iterdir()} == {"folder.safetensors", "file"}


def run(*arguments):
    command = [sys.executable, "-m", "dbim_lightning.weights", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_command_imports_and_refuses_in_one_line(tmp_path):
    network = build_denoiser(published_config("adm_tiny", "vp")).network
    torch.save(as_ddbm(network.state_dict()), tmp_path / "a.pt")
    options = ["--network", "adm_tiny", "--schedule", "vp", "-o", tmp_path / "a.safetensors"]
    done = run("import", tmp_path / "a.pt", *options)
    assert done.returncode == 0, done.stderr
    assert "in the form of DDBM" in done.stdout
    assert "1.37 M parameters" in done.stdout
    loaded = dbim_lightning.load(tmp_path / "a.safetensors").network.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in network.state_dict().items())
    for bad in (
        ["import", tmp_path / "no.pt", *options],
        ["export", ROOT / "README.md", *options[4:]],
    ):
        failed = run(*bad)
        assert failed.returncode == 1
        assert failed.stderr.startswith("error: ")
        assert failed.stderr.count("\n") == 1


def prefixed(weights, prefix):
    return {f"{prefix}{key}": value for key, value in weights.items()}


def with_adam(weights):
    moments = {i: {"exp_avg": value} for i, value in enumerate(weights.values())}
    return {"state": moments, "param_groups": [{"lr": 1e-4}]}


def zeros(weights):
    return {key: torch.zeros_like(value) for key, value in weights.items()}


WRAPPED = {
    "state_dict": lambda w: {"state_dict": w, "epoch": 3, "betas": torch.ones(9)},
    "model": lambda w: {"model": w, "optimizer": with_adam(w), "step": torch.tensor(5)},
    "ema": lambda w: {"model": zeros(w), "ema": w, "optimizer": with_adam(w)},
    "params_ema": lambda w: {"params": zeros(w), "params_ema": w},
    "state.model_state_dict": lambda w: {"state": {"model_state_dict": w, "loss": 0.1}},
    "module.": lambda w: {**prefixed(w, "module."), "n_averaged": torch.tensor(7)},
    "_orig_mod.": lambda w: prefixed(w, "_orig_mod."),
    "model.network.": lambda w: {"state_dict": prefixed(w, "model.network.")},
    "module._orig_mod.": lambda w: {"ema": prefixed(w, "module._orig_mod.")},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_state_dicts_of_other_programs_are_unwrapped(unet, tmp_path, capsys, kind):
    spec, weights = unet
    torch.save(WRAPPED[kind](as_ddbm(weights)), tmp_path / "a.pt")
    saved = import_weights(tmp_path / "a.pt", config_of(spec))
    assert saved.weights.keys() == prefixed(weights, "network.").keys()
    assert all(torch.equal(saved.weights[f"network.{k}"], v) for k, v in weights.items())
    told = f"its {kind} in the form of DDBM"
    assert (told in capsys.readouterr().out) == (not kind.endswith("."))


def test_a_bare_safetensors_file_is_a_state_dict(unet, tmp_path):
    spec, weights = unet
    save_file(as_ddbm(prefixed(weights, "module.")), tmp_path / "a.safetensors")
    saved = import_weights(tmp_path / "a.safetensors", config_of(spec))
    assert all(torch.equal(saved.weights[f"network.{k}"], v) for k, v in weights.items())


def test_what_is_no_single_state_dict_is_named(unet, tmp_path):
    spec, weights = unet
    path, config = tmp_path / "a.pt", config_of(spec)
    for content, message in (
        ({"model": weights, "net": weights}, r"a\.pt: several state dicts in it, model, net: save"),
        ({"ema": weights, "net_ema": weights, "net": weights}, r"in it, ema, net_ema: save"),
        ({"avg": weights, "non_ema": weights}, r"in it, avg, non_ema: save"),
        ({"epoch": 3, "args": {"lr": 0.1}}, r"a\.pt: no state dict in it, but epoch \(int\), args"),
        ({}, "no state dict in it, but nothing"),
        (prefixed(weights, "unet."), r"another network: .*; it has unet\.\S+, unet\.\S+, unet\.\S"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=message):
            import_weights(path, config)


def test_commands_in_errors_can_be_pasted(unet, tmp_path):
    path = tmp_path / "it's mine.safetensors"
    save_file(unet[1], path)
    with pytest.raises(UserError) as caught:
        read_denoiser(path)
    words = shlex.split(str(caught.value).partition("import it with ")[2])
    assert words[:5] == ["python", "-m", "dbim_lightning.weights", "import", str(path)]
