"""The statistics that DDBM's preconditioning takes, and those that it names."""

import re

import pytest
import torch

from dbim_lightning.bridge import DDBMPreconditioning, VPSchedule
from dbim_lightning.errors import UserError


def scalings(preconditioning):
    schedule = VPSchedule()
    t = torch.linspace(schedule.t_min, schedule.t_max, 50, dtype=torch.float64)
    return preconditioning(schedule, t, schedule.coefficients(t)), schedule.coefficients(t)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("sigma_0", "sigma_T"), [(0.5, 0.5), (0.61, 0.48), (0.1, 0.7)])
def test_a_covariance_at_its_bound_leaves_the_noise_alone_to_be_explained(sign, sigma_0, sigma_T):
    for rounding in (0, 9e-7):
        cov = sign * sigma_0 * sigma_T * (1 + rounding)
        found, (a, b, c) = scalings(DDBMPreconditioning(sigma_0, sigma_T, cov))
        variance = (a * sign * sigma_T + b * sigma_0) ** 2 + c**2
        torch.testing.assert_close(found.c_in, variance**-0.5, rtol=1e-5, atol=0)
        torch.testing.assert_close(found.c_out, sigma_0 * c * variance**-0.5, rtol=1e-5, atol=1e-8)
        assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ((0.5, 0.5, 0.2501), "statistics.cov_xy=0.2501: give 0.25 at most, up or down, which is"),
        ((0.5, 0.4, -0.21), "statistics.sigma_data=0.5 times statistics.sigma_data_end=0.4"),
        ((0.5, 0.5, float("nan")), "statistics.cov_xy=nan"),
        ((0.0, 0.5, 0.0), "statistics.sigma_data=0.0: give a positive number"),
        ((0.5, -1.0, 0.0), "statistics.sigma_data_end=-1.0: give a positive number"),
        ((0.5, float("inf"), 0.0), "statistics.sigma_data_end=inf"),
        ((float("nan"), 0.5, 0.0), "statistics.sigma_data=nan"),
    ],
)
def test_impossible_statistics_are_named_as_keys(statistics, message):
    with pytest.raises(UserError, match=re.escape(message)):
        DDBMPreconditioning(*statistics)
