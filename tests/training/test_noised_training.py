"""A bridge with a noised source, as a person trains and evaluates it."""

from commands import TINY, run

import dbim_lightning


def test_a_noised_source_is_trained_and_sampled_by_samplers_that_take_it(runs, openmoji_root):
    folder = runs / "noised"
    words = [*TINY, f"dataset.root={openmoji_root}", "+schedule.source_noise=0.5"]
    words += ["trainer.max_steps=2", f"hydra.run.dir={folder}"]
    printed = run("train.py", *words, "sampler=ddbm", status=1)
    assert "source_noise=0.5: this sampler is for bridges to x_T itself, use dbim" in printed
    assert not (folder / "checkpoints").exists()
    run("train.py", *words)
    last = folder / "checkpoints" / "last.ckpt"
    assert dbim_lightning.load(last).schedule.source_noise == 0.5
    evaluated = ["evaluate.py", f"checkpoint={last}", "num_images=2", "metrics=paired"]
    for sampler, status in (("dbim", 0), ("dbim_fast", 0), ("ddbm", 1)):
        options = [f"sampler={sampler}", "nfe=5", f"hydra.run.dir={folder}/{sampler}"]
        run(*evaluated, *options, status=status)
