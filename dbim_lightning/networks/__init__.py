"""Networks F(x, c_noise, x_T, **cond)."""

from dbim_lightning.networks.adm import ADMUNet
from dbim_lightning.networks.requirements import require_image_size, require_pairs
