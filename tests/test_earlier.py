"""Configurations of earlier runs: what a resumed run is told, and where an evaluation differs."""

import pytest

from dbim_lightning.composing import compose
from dbim_lightning.config import checked, resolved
from dbim_lightning.earlier import differences, inherited, resumed
from dbim_lightning.errors import UserError
from dbim_lightning.options import TRAIN

FOLDER = ["dataset=paired_folder", "dataset.root=x"]


def saved(*words):
    return resolved(checked(compose("train", [*FOLDER, *words]), TRAIN))


def again(earlier, *words):
    return resolved(resumed(earlier, compose("train", words), words))


def test_a_word_for_a_resumed_run_is_in_force_wherever_it_is_interpolated():
    words = ["dataset.root=moved", "training.batch_size=8", "training.gradient_clip_val=0.01"]
    cfg = again(saved("data.flip=false"), *words, "training.max_steps=9", "resume=a.ckpt")
    assert cfg["dataset"]["root"] == cfg["data"]["dataset"]["root"] == "moved"
    assert cfg["training"]["batch_size"] == cfg["data"]["batch_size"] == 8
    assert cfg["trainer"]["gradient_clip_val"] == 0.01
    assert cfg["trainer"]["max_steps"] == 9
    assert (cfg["data"]["flip"], cfg["resume"]) == (False, "a.ckpt")
    assert cfg["dataset"]["_target_"] == "dbim_lightning.data.PairedFolder"


def test_what_the_earlier_run_had_set_apart_stays_so_until_a_word_is_for_it():
    earlier = saved("data.batch_size=3", "trainer.max_steps=7")
    cfg = again(earlier, "trainer.max_steps=8")
    assert (cfg["data"]["batch_size"], cfg["training"]["batch_size"]) == (3, 32)
    assert again(earlier, "training.batch_size=5")["data"]["batch_size"] == 5
    assert again(earlier, "data.batch_size=4")["training"]["batch_size"] == 32


def test_a_resumed_run_takes_options_that_only_its_own_classes_have():
    cfg = again(saved(), "+dataset.fit=squash", "trainer.strategy=ddp")
    assert (cfg["dataset"]["fit"], cfg["data"]["dataset"]["fit"]) == ("squash", "squash")
    assert cfg["trainer"]["strategy"] == "ddp"
    with pytest.raises(UserError, match=r"no key dataset\.corruption"):
        again(saved(), "+dataset.corruption=jpeg")
    packed = resolved(compose("train", ["dataset=packed", "dataset.root=x"]))
    with pytest.raises(UserError, match=r"there is no key dataset\.image_size"):
        again(packed, "dataset.image_size=64")


def test_a_resumed_run_has_todays_keys_that_its_file_lacks():
    earlier = saved()
    del earlier["objective"], earlier["trainer"]["limit_val_batches"]
    earlier["trainer"]["max_steps"] = 7
    cfg = again(earlier)
    assert cfg["objective"]["mask"] is False
    assert (cfg["trainer"]["limit_val_batches"], cfg["trainer"]["max_steps"]) == (None, 7)


@pytest.mark.parametrize(
    "word",
    [
        "network=adm_small",
        "metrics@evaluation.metrics=offline",
        "objective/times=lambda",
        "experiment=demo",
        "network.model_channels=64",
        "schedule.beta_d=1",
        "statistics.cov_xy=0.1",
        "seed=1",
        "weights=other.ckpt",
        "training.optimizer._target_=torch.optim.SGD",
        "~data.flip",
    ],
)
def test_what_cannot_change_in_a_resumed_run_is_refused_by_name(word):
    with pytest.raises(UserError, match=f"{word.replace('~', '.')} cannot change in a resumed run"):
        again(saved(), word)


def test_a_resumed_run_takes_the_experiment_that_it_is():
    words = ["experiment=own_pairs_64", "dataset.root=x", "training.batch_size=8"]
    earlier = resolved(checked(compose("train", words), TRAIN)) | {"command": words}
    cfg = again(earlier, *words, "trainer.max_steps=9")
    assert (cfg["data"]["batch_size"], cfg["trainer"]["max_steps"]) == (8, 9)
    assert cfg["dataset"] == earlier["dataset"]
    with pytest.raises(UserError, match="experiment=own_pairs_256 cannot change"):
        again(earlier, "experiment=own_pairs_256", "dataset.root=x")


def test_words_of_the_earlier_command_may_be_said_again():
    earlier = saved("seed=1") | {"command": ["seed=1"]}
    assert again(earlier, "seed=1")["seed"] == 1
    with pytest.raises(UserError, match="seed=2 cannot change"):
        again(earlier, "seed=2")


def test_what_the_command_alone_says_is_taken_from_no_file():
    earlier = saved() | {"resume": "old.ckpt", "weights": "old.ckpt", "trusted": ["os.mkdir"]}
    cfg, new = again(earlier), saved()
    for key in ("resume", "weights", "trusted"):
        assert cfg[key] == new[key] != earlier[key]


def dataset_of(*words):
    return compose("evaluate", words).dataset


def test_evaluating_elsewhere_takes_the_root_and_keeps_the_rest():
    theirs = saved("dataset.source_side=right", "dataset.image_size=32")["dataset"]
    assert inherited(dataset_of(), theirs) == theirs
    assert inherited(dataset_of("dataset.root=new"), theirs) == theirs | {"root": "new"}
    bigger = inherited(dataset_of("+dataset.image_size=64"), theirs)
    assert bigger == theirs | {"image_size": 64}
    assert inherited(dataset_of("+dataset.check=off"), theirs)["check"] is False
    assert inherited(dataset_of("dataset.root=new"), None) is None
    named = inherited(dataset_of("dataset=paired_folder", "dataset.root=new"), theirs)
    assert (named["source_side"], named["image_size"]) == ("left", 64)
    with pytest.raises(
        UserError, match=r"no key dataset\.side: the nearest are .*dataset\.source_side"
    ):
        inherited(dataset_of("+dataset.side=left"), theirs)


def test_an_option_of_the_trainings_data_set_is_asked_for_with_a_plus():
    with pytest.raises(UserError, match=r"dataset\.image_size is not set yet: write \+dataset"):
        dataset_of("dataset.image_size=64")


def test_differences_from_the_training_are_named_but_for_the_place():
    words = ["dataset.source_side=right", "dataset.image_size=32", "statistics.cov_xy=0.1"]
    training = saved(*words)
    known = {key: training[key] for key in ("dataset", "statistics")}
    assert differences(known, known) == ""
    moved = training["dataset"] | {"root": "elsewhere", "check": False}
    assert differences({"dataset": moved, "statistics": None}, known) == ""
    named = compose("evaluate", FOLDER)
    here = {"dataset": resolved(named.dataset), "statistics": resolved(named.statistics)}
    assert differences(here, known) == (
        "dataset.image_size 64 (training: 32), dataset.source_side left (training: right), "
        "statistics.cov_xy 0.0 (training: 0.1)"
    )
    assert differences(here, {"dataset": None, "statistics": None}) == ""
