"""How near samples come to the true distribution: python -m benchmarks.distributions.

The network is perfect: E[x_0 | x_t, x_T] of a mixture of two Gaussians (tests/helpers/closed_form).
Prints the Wasserstein-1 distance of 100,000 samples of x_0, given x_T = 0.5, from as many true
draws, in thousandths, beside that of two sets of true draws. What is better here is the sampler's
own; what is better with a trained network alone is its errors being forgotten.
"""

import torch
from rich.progress import track
from torch import Tensor

from dbim_lightning.bridge import BrownianSchedule, VESchedule, VPSchedule
from dbim_lightning.samplers import (
    DBIM,
    DDBM,
    ECSI,
    DBMSolver,
    KarrasSigma,
    Sampler,
    UniformLambda,
)
from tests.helpers.closed_form import MixtureBridge

COUNT, NFE, X_T = 100_000, (5, 10, 20), 0.5
SCHEDULES = {"VP": VPSchedule(), "VE": VESchedule(), "Brownian": BrownianSchedule()}


def samplers(nfe: int) -> dict[str, Sampler]:
    """All that are compared, without clipping: the mixture is wider than images are."""
    equal, sigma = UniformLambda(), KarrasSigma()
    plain = {"clip_denoised": False}
    free = {"omega": "exponential", "grid": sigma, **plain}
    return {
        "DBIM, eta 0, as published": DBIM(nfe, **plain),
        "DBIM, eta 1, as published": DBIM(nfe, eta=1.0, **plain),
        "DBIM, eta 0, equal λ": DBIM(nfe, grid=equal, **plain),
        "DBIM, eta 0, equal λ, order 2": DBIM(nfe, grid=equal, order=2, **plain),
        "DBIM, eta 0, equal λ, order 3": DBIM(nfe, grid=equal, order=3, **plain),
        "DBIM, eta 0, sigma grid": DBIM(nfe, **free),
        "DBIM, eta 0, sigma grid, order 2": DBIM(nfe, order=2, **free),
        "DBIM, eta 1, sigma grid": DBIM(nfe, eta=1.0, **free),
        "DBIM, eta 1, sigma grid, order 2": DBIM(nfe, eta=1.0, order=2, **free),
        "DBIM, eta 6, sigma grid (`dbim_fast`)": DBIM(nfe, eta=6.0, **free),
        "DBIM, eta 6, sigma grid, order 2": DBIM(nfe, eta=6.0, order=2, **free),
        "DBMSolver, as published": DBMSolver(nfe, **plain),
        "DBMSolver, sigma grid": DBMSolver(nfe, grid=sigma, **plain),
        "ECSI, eta 0.3, as published": ECSI(nfe, **plain),
        "ECSI, eta 1, as published": ECSI(nfe, eta=1.0, **plain),
        "DDBM, as published": DDBM(nfe, **plain),
    }


def true_draws(bridge: MixtureBridge, generator: torch.Generator) -> Tensor:
    which = torch.multinomial(torch.tensor(bridge.weights), COUNT, True, generator=generator)
    means = torch.tensor(bridge.means) + torch.tensor(bridge.slopes) * X_T
    eps = torch.randn(COUNT, generator=generator)
    return means[which] + torch.tensor(bridge.sigmas)[which] * eps


def distance(one: Tensor, other: Tensor) -> float:
    """Wasserstein-1 of two sets of numbers, of equal size: the mean of |x_(i) - y_(i)|."""
    return (one.flatten().sort().values - other.flatten().sort().values).abs().mean().item()


def samples(bridge: MixtureBridge, sampler: Sampler, generator: torch.Generator) -> Tensor:
    """The last states, not clamped."""
    x_T = torch.full((COUNT, 1, 1, 1), X_T)

    def denoise(x: Tensor, t: Tensor, spare: Tensor | None = None) -> Tensor:
        return bridge(x, t[None], x_T)

    def noise(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator)

    with torch.no_grad():
        *_, last = sampler.states(denoise, bridge.schedule, x_T, noise)
    return last.x


def main() -> None:
    generator, rows = torch.Generator().manual_seed(0), {}
    for title, schedule in SCHEDULES.items():
        bridge = MixtureBridge(schedule)
        true = true_draws(bridge, generator)
        floor = distance(true, true_draws(bridge, generator))
        rows.setdefault("two sets of true draws", []).extend([floor] * len(NFE))
        for nfe in track(NFE, title):
            for name, sampler in samplers(nfe).items():
                found = distance(samples(bridge, sampler, generator), true)
                rows.setdefault(name, []).append(found)
    print("| sampler | " + " | ".join(f"{name} @{nfe}" for name in SCHEDULES for nfe in NFE) + " |")
    print("| --- " + "| ---: " * len(SCHEDULES) * len(NFE) + "|")
    for name, found in rows.items():
        print(f"| {name} | " + " | ".join(f"{1000 * value:.1f}" for value in found) + " |")


if __name__ == "__main__":
    main()
