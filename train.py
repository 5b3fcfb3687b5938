"""Trains a diffusion bridge: python train.py [group=choice] [key=value]; --help explains."""

from dbim_lightning.train import main

if __name__ == "__main__":
    main()
