"""What preconditioning needs to know of a data set."""

import torch
from rich.progress import track
from torch.utils.data import DataLoader, Dataset


def statistics(data: Dataset) -> dict[str, float]:
    """Over all pixels in [-1, 1]: mean and deviation of x_0 and x_T, covariance, MSE, range."""
    moments = torch.zeros(5, dtype=torch.float64)
    low, high, pixels = 1.0, -1.0, 0
    for batch in track(DataLoader(data, 16), "Measuring"):
        x_0, x_T = (batch[key].double().flatten() for key in ("x_0", "x_T"))
        products = (x_0, x_T, x_0 * x_0, x_T * x_T, x_0 * x_T)
        moments += torch.stack([values.sum() for values in products])
        pixels += x_0.numel()
        low = min(low, x_0.min().item(), x_T.min().item())
        high = max(high, x_0.max().item(), x_T.max().item())
    mean_0, mean_T, square_0, square_T, product = (moments / pixels).tolist()
    return {
        "mean x_0": mean_0,
        "mean x_T": mean_T,
        "std x_0": max(square_0 - mean_0**2, 0) ** 0.5,
        "std x_T": max(square_T - mean_T**2, 0) ** 0.5,
        "covariance": product - mean_0 * mean_T,
        "MSE(x_T, x_0)": square_0 + square_T - 2 * product,
        "lowest": low,
        "highest": high,
    }
