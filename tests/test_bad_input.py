"""Bad input ends with one clear line, in seconds, and leaves nothing behind."""

import re
from pathlib import Path

import pytest
import torch
from forked import forked
from picture_files import as_strips, picture, save, some_pairs
from refusals import import_late, require_refused, run, table

import dbim_lightning
from dbim_lightning.bridge import (
    BrownianSchedule,
    DDBMPreconditioning,
    I2SBSchedule,
    VESchedule,
    VPSchedule,
    precision_on,
)
from dbim_lightning.errors import UserError
from dbim_lightning.evaluation import Evaluator, Protocol
from dbim_lightning.leftovers import _take_back, take_back_later
from dbim_lightning.networks import ADMUNet, require_pairs
from dbim_lightning.samplers import (
    DBIM,
    DDBM,
    ECSI,
    DBMSolver,
    ImageNoise,
    Karras,
    KarrasSigma,
    Listed,
    PriorGuidance,
    Uniform,
    UniformLambda,
    encode,
    interpolate,
)
from dbim_lightning.training import EMA, PairDataModule


@pytest.fixture(scope="module")
def places(tmp_path_factory, trained) -> dict[str, Path]:
    """Files and folders by the names that the table has for them."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "empty").mkdir()
    (folder / "text").write_text("no picture, no checkpoint\n")
    for name in ("a", "b"):
        for split in ("train", "val"):
            save(folder / "classes" / split / name / "0.png", picture(32, 32, 3))
    return {
        "PAIRS": as_strips(folder / "pairs", some_pairs(40, 32, 32)),
        "ONE": as_strips(folder / "one", some_pairs(1, 32, 32)),
        "CLASSES": folder / "classes",
        "EMPTY": folder / "empty",
        "TEXT": folder / "text",
        "NOWHERE": folder / "nowhere",
        "TRAINED": trained,
        "CHECKPOINT": trained / "checkpoints" / "last.ckpt",
    }


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    import_late()


TABLE = table("bad_input.txt")


@pytest.mark.parametrize(("words", "part"), TABLE, ids=[words for words, _ in TABLE])
def test_bad_input_ends_with_one_line_and_leaves_nothing(words, part, places, tmp_path):
    require_refused(words, part, places, tmp_path / "empty")


def test_of_a_sweep_the_jobs_that_are_refused_leave_nothing(places, tmp_path):
    """The others' folders stay."""
    words = "evaluate.py -m checkpoint=CHECKPOINT metrics=paired nfe=1,2 num_images=2"
    ended = run(f"{words} hydra.sweep.dir=sweep", places, tmp_path)
    assert ended.status == 0, ended.text
    assert "skipped: nfe=1" in ended.text
    [kept] = [path for path in (tmp_path / "sweep").iterdir() if path.is_dir()]
    assert (kept / "results.json").exists()


def test_a_folder_that_was_there_stays_with_all_that_is_in_it(places, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "evaluate.log").write_text("before")
    for folder in ("mine", "mine/deeper"):
        assert run(f"EVALUATE nfe=1 hydra.run.dir={folder}", places, tmp_path).status == 1
    assert (tmp_path / "mine" / "evaluate.log").read_text() == "before"
    assert not (tmp_path / "mine" / "deeper").exists()


@pytest.mark.parametrize("name", ["results.json", "deeper/last.ckpt", "other.log"])
def test_what_anybody_else_writes_into_a_new_folder_keeps_it(tmp_path, name):
    def command() -> None:
        take_back_later(Path("runs/new"), "train.log")
        for path in (Path("runs/new/train.log"), Path("runs/new") / name, Path("runs/x/train.log")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    folder = tmp_path / "folder"
    folder.mkdir()
    assert forked(command, folder).status == 0
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"runs/new/train.log", f"runs/new/{name}", "runs/x/train.log"}


X, NAN, INF = torch.zeros(2, 3, 8, 8), float("nan"), float("inf")


def sampled(sampler=DBIM(3), x_T=X, noise=None, denoise=lambda x, t, x_T: x_T, **options):  # noqa: B008
    return sampler.sample(denoise, VPSchedule(), x_T, noise or ImageNoise(0, [0, 1]), **options)


def encoded(x_0=X, sampler=DBIM(3), **options):  # noqa: B008
    return encode(lambda x, t, x_T: x_T, VPSchedule(), x_0, X, sampler, **options)


def network(**options) -> ADMUNet:
    small = {"model_channels": 32, "channel_mult": [1, 1], "num_res_blocks": 1}
    return ADMUNet(**{**small, "attention_resolutions": [], "num_head_channels": 32, **options})


def run_network(x=X, x_T=X, y=None, **options):
    return network(**options)(x, torch.zeros(len(x)), x_T, y)


class Pairs(torch.utils.data.Dataset):
    def __init__(self, split: str, number: int = 3):
        self.number = number

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> dict:
        return {"x_0": X[0], "x_T": X[0], "index": index, "name": str(index)}


def evaluator(**options) -> Evaluator:
    return Evaluator(**{"dataset": Pairs, "protocol": Protocol("x"), **options})


CALLS = {
    "nfe=1: use a whole number from 2": lambda: DBIM(1),
    "nfe=2.5: use a whole number from 2": lambda: DBIM(2.5),
    "nfe=2: use a whole number from 3": lambda: ECSI(2),
    "nfe=0: use a whole number from 2": lambda: DDBM(0),
    "nfe=1: use a whole number from 2, one call boots": lambda: DBMSolver(1),
    "order=True: use 1, 2 or 3": lambda: DBIM(3, order=True),
    "order=2.0: use 1, 2 or 3": lambda: DBIM(3, order=2.0),
    "eta=nan: use 0 or more": lambda: DBIM(3, eta=NAN),
    "form=x of omega does not exist": lambda: DBIM(3, omega="x"),
    "grid='karras' of the sampler: give a grid": lambda: sampled(DBIM(3, grid="karras")),
    "start=2 of the grid": lambda: sampled(DBIM(3, grid=Uniform(start=2))),
    "times must fall": lambda: sampled(DBIM(2, grid=Listed([NAN, 0.5]))),
    "times=[] of the listed grid": lambda: Listed([]),
    "rho=0 of the Karras grid": lambda: Karras(0),
    "sigma_max=nan of the sigma grid": lambda: KarrasSigma(sigma_max=NAN),
    "limit=nan of lambda": lambda: UniformLambda(limit=NAN),
    "churn_step_ratio=1": lambda: DDBM(5, churn_step_ratio=1),
    "midpoint=x does not exist": lambda: DBMSolver(4, midpoint="x"),
    "weight=nan of the guidance": lambda: PriorGuidance(4, DBIM(2), weight=NAN),
    "two times fall on one index": lambda: DBIM(2000).require(I2SBSchedule()),
    "x_T: torch.uint8 from 0 to 0": lambda: sampled(x_T=X.byte()),
    "x_T: torch.float32 from 2 to 2": lambda: sampled(x_T=X + 2),
    "x_T of shape (3, 8, 8)": lambda: sampled(x_T=X[0]),
    "x_T of shape (0, 3, 8, 8)": lambda: sampled(x_T=X[:0]),
    "x_T of shape (): give sources": lambda: sampled(x_T=[1]),
    "noise for 1 image indices": lambda: sampled(noise=ImageNoise(0, [0])),
    "mask of shape (5,)": lambda: sampled(mask=torch.zeros(5)),
    "mask from 2 to 2": lambda: sampled(mask=X + 2),
    "NaN or infinite values in step 1 of 3": lambda: sampled(denoise=lambda *_: X * NAN),
    "the denoiser returned (2, 1, 8, 8)": lambda: sampled(denoise=lambda *_: X[:, :1]),
    "images of (1, 3, 8, 8) for sources": lambda: encoded(X[:1]),
    "x_0: torch.float32 from nan": lambda: encoded(X * NAN),
    "images have codes for DBIM at eta=0": lambda: encoded(sampler=DBIM(3, eta=1)),
    "tolerance=0, max_calls=50": lambda: encoded(tolerance=0),
    "codes of (2, 3, 8, 8) and (1, 3, 8, 8)": lambda: interpolate(X, X[:1], [0.5]),
    "weights [nan] between codes": lambda: interpolate(X, X, [NAN]),
    "VP schedule with beta_d=inf": lambda: VPSchedule(beta_d=INF),
    "VP schedule with beta_d=2.0, beta_min=nan": lambda: VPSchedule(beta_min=NAN),
    "VE schedule with sigma_max=inf": lambda: VESchedule(sigma_max=INF),
    "Brownian schedule with beta_min=2": lambda: BrownianSchedule(beta_min=2),
    "I2SB schedule with n_timestep=3": lambda: I2SBSchedule(3),
    "source_noise=nan of the schedule": lambda: VPSchedule(source_noise=NAN),
    "statistics.sigma_data=nan": lambda: DDBMPreconditioning(sigma_data=NAN),
    "precision=x: choose auto": lambda: precision_on(torch.device("cpu"), "x"),
    "model_channels=33: use a multiple of 32": lambda: network(model_channels=33),
    "in_channels=0": lambda: network(in_channels=0),
    "num_heads_upsample=-2: use 1 or more": lambda: network(num_heads_upsample=-2),
    "sides are multiples of 2": lambda: run_network(X[..., :7], X[..., :7]),
    "in_channels=3 got images of 1 channels": lambda: run_network(X[:, :1], X[:, :1]),
    "x_T of (2, 3, 8, 4)": lambda: run_network(x_T=X[..., :4]),
    "needs the class labels y": lambda: run_network(num_classes=2),
    "class labels from 0 to 2": lambda: run_network(num_classes=2, y=torch.tensor([0, 2])),
    "network.in_channels=1": lambda: require_pairs(network(in_channels=1), Pairs("test")),
    "decay=nan of the EMA": lambda: EMA(NAN, ramp=True),
    "data module with batch_size=0": lambda: PairDataModule(Pairs, 0),
    "data module with num_workers=-1": lambda: PairDataModule(Pairs, 1, num_workers=-1),
    "data module with max_images=0": lambda: PairDataModule(Pairs, 1, max_images=0),
    "the training split has no images": lambda: empty_module().training_pairs,
    "num_images=9: use 2 to 3": lambda: evaluator(num_images=9),
    "the test split has 1 image": lambda: evaluator(dataset=lambda split: Pairs(split, 1)),
    "device=nonsense cannot be used": lambda: evaluator(device="nonsense"),
    "metrics.rounding=up": lambda: Protocol("x", rounding="up"),
    "nowhere is no file, and no bridge that ships": lambda: dbim_lightning.load("nowhere"),
    "None is no file": lambda: dbim_lightning.load(None),
    "give weights=FILE": lambda: dbim_lightning.load_sampler(None, 5),
    "nfe=0: use a whole number": lambda: dbim_lightning.load_sampler("nowhere", 0),
}


def empty_module() -> PairDataModule:
    module = PairDataModule(lambda split: Pairs(split, 0), 1)
    module.setup("fit")
    return module


@pytest.mark.parametrize("part", CALLS)
def test_bad_arguments_are_refused_by_name(part):
    with pytest.raises(UserError, match=re.escape(part)):
        CALLS[part]()


@pytest.mark.parametrize(
    ("options", "part"),
    [({"device": "nonsense"}, "device=nonsense"), ({"precision": "x"}, "precision=x")],
)
def test_a_bridge_is_loaded_to_what_there_is(options, part, trained):
    with pytest.raises(UserError, match=part):
        dbim_lightning.load(trained / "checkpoints" / "last.ckpt", **options)


def test_what_a_sweep_has_done_stays_beside_a_job_that_was_refused(tmp_path):
    sweep = tmp_path / "runs" / "sweep"
    made = [sweep, sweep.parent]
    for name, text in (("0", "warnings"), ("1", ""), ("2", "an error")):
        (sweep / name / ".hydra").mkdir(parents=True)
        (sweep / name / ".hydra" / "config.yaml").write_text("a: 1")
        (sweep / name / "evaluate.log").write_text(text)
    (sweep / "0" / "results.json").write_text("{}")
    (sweep / "multirun.yaml").write_text("b: 1")
    _take_back(made, "evaluate.log")
    left = {str(path.relative_to(sweep)) for path in sweep.rglob("*") if path.is_file()}
    kept = {f"{job}/{name}" for job in "02" for name in (".hydra/config.yaml", "evaluate.log")}
    assert left == {"multirun.yaml", "0/results.json", *kept}
