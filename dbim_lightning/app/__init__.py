"""A page to draw on, and to see what a bridge makes of it: python -m dbim_lightning.app"""
