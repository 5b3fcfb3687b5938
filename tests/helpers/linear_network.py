"""The smallest network that can be trained."""

import torch


class Linear(torch.nn.Module):
    """A network with one weight; F = w x."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x, c_noise, x_T):
        return self.w * x
