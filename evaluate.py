"""Evaluates a trained bridge: python evaluate.py [sampler=dbim] [nfe=20] [key=value]; --help."""

from dbim_lightning.evaluate import main

if __name__ == "__main__":
    main()
