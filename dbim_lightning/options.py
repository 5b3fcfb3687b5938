"""What train.yaml and evaluate.yaml take: type and range of each plain value, by dotted key.

Values of what a `_target_` names are of the types that its signature says; those of them stand here
that have a range, or that this project takes in part.
"""

from typing import Annotated, Any, Literal

from dbim_lightning.values import Only, Range, Since, Some

COUNT = Annotated[int, Range(1)]
FROM_ZERO = Annotated[int, Range(0)]
BATCH = Annotated[int, Range(1, 2**16)]
NFE = Annotated[int, Range(1, 10_000)]
NFES = Annotated[list[NFE], Some()]
WORKERS = Annotated[int, Range(0, 256)]
SEED = Annotated[int, Range(0, 2**32 - 1)]
DEVIATION = Annotated[float, Range(0, 1, above=True)]  # of images in [-1, 1]
RATE = Annotated[float, Range(0, 100)]
NOT_NEGATIVE = Annotated[float, Range(0)]

NO_EPOCHS = "training has no epochs, trainer.max_steps says how long it takes"
OWN_LOADERS = "the loaders of this project shard and shuffle themselves"
OWN_CHECKPOINTS = "checkpoint_every_n_steps says when checkpoints are written"
OWN_FOLDER = "hydra.run.dir says where the run is written"

TRAIN: dict[str, Any] = {
    "seed": SEED,
    "resume": str | None,
    "weights": str | None,
    "trusted": list[str],
    "statistics.sigma_data": DEVIATION,
    "statistics.sigma_data_end": DEVIATION,
    "statistics.cov_xy": float,
    "training.max_steps": COUNT,
    "training.batch_size": BATCH,
    "training.warmup_steps": FROM_ZERO,
    "training.cooldown_steps": FROM_ZERO,
    "training.gradient_clip_val": NOT_NEGATIVE | None,
    "training.optimizer.lr": RATE,
    "training.optimizer.weight_decay": RATE,
    "training.ema.decay": Annotated[float, Range(0, 1)],
    "data.batch_size": BATCH,
    "data.num_workers": WORKERS,
    "data.seed": SEED,
    "data.max_images": COUNT | None,
    "data.num_validation_images": COUNT,
    "trainer.accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps"],
    "trainer.num_nodes": COUNT,
    "trainer.precision": Annotated[
        Literal["auto", "32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16"],
        Since("weights and their moving average stay in float32"),
    ],
    "trainer.max_steps": COUNT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": NOT_NEGATIVE | None,
    "trainer.val_check_interval": Annotated[
        COUNT,
        Since("above trainer.max_steps it is at the end alone, limit_val_batches=0 is never"),
    ],
    "trainer.log_every_n_steps": COUNT,
    "trainer.limit_val_batches": FROM_ZERO | Annotated[float, Range(0, 1)] | None,
    "trainer.limit_train_batches": Annotated[
        Any, Only(None, "trainer.max_steps limits the training, data.max_images its images")
    ],
    "trainer.overfit_batches": Annotated[Any, Only(0, "data.max_images limits the images")],
    "trainer.fast_dev_run": Annotated[Any, Only(False, "trainer.max_steps=2 is a quick trial")],
    "trainer.barebones": Annotated[Any, Only(False, "checkpoints and logs would be left out")],
    "trainer.max_epochs": Annotated[Any, Only(-1, NO_EPOCHS)],
    "trainer.min_epochs": Annotated[Any, Only(None, NO_EPOCHS)],
    "trainer.min_steps": Annotated[Any, Only(None, "trainer.max_steps says how long it takes")],
    "trainer.reload_dataloaders_every_n_epochs": Annotated[Any, Only(0, NO_EPOCHS)],
    "trainer.check_val_every_n_epoch": Annotated[Any, Only(None, NO_EPOCHS)],
    "trainer.use_distributed_sampler": Annotated[Any, Only(False, OWN_LOADERS)],
    "trainer.enable_checkpointing": Annotated[Any, Only(False, OWN_CHECKPOINTS)],
    "trainer.default_root_dir": Annotated[Any, Only(None, OWN_FOLDER)],
    "trainer.logger": Annotated[Any, Only(None, "WANDB_MODE=disabled leaves W&B out")],
    "trainer.callbacks": Annotated[Any, Only(None, "the program has the callbacks")],
    "preview.nfe": NFES,
    "preview.num_images": Annotated[int, Range(2)],
    "evaluation.every_n_steps": COUNT | None,
    "evaluation.nfe": NFES,
    "evaluation.num_images": Annotated[int, Range(2)],
    "evaluation.best": str | None,
    "precision": str,
    "checkpoint_every_n_steps": COUNT | None,
    "checkpoint.keep_last": COUNT,
    "checkpoint.keep_every_n_steps": COUNT | None,
    "wandb_project": str,
}

EVALUATE: dict[str, Any] = {
    "nfe": NFE,
    "seed": Annotated[int, Range(0)],
    "sampler.eta": NOT_NEGATIVE | None,
    "sampler.order": int | None,
    "batch_size": BATCH,
    "num_images": Annotated[int, Range(2)] | None,
    "keep_samples": bool | None,
    "checkpoint": str | None,
    "weights": str | None,
    "samples": str | None,
    "trusted": list[str],
    "save_images": Literal["png"] | None,
    "device": str | None,
    "precision": str,
    "wandb": bool,
    "runs": str,
    "folder": str,
}
