"""Networks F(x, c_noise, x_T, **cond)."""

from dbim_lightning.networks.adm import ADMUNet, require_image_size, require_pairs
