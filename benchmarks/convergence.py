"""How fast DBIM converges: python -m benchmarks.convergence.

Prints the error of orders 1, 2 and 3 at eta 0 against the exact solution of a bridge in closed
form, in float64, with slopes, and draws them into docs/images/convergence.png.
"""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from dbim_lightning.bridge import BrownianSchedule, VESchedule, VPSchedule
from dbim_lightning.samplers import Uniform
from tests.helpers.closed_form import errors, harmless_grid, slope

STEPS = [10, 20, 40, 80, 160, 320]
SCHEDULES = {"VP": VPSchedule(), "VE": VESchedule(), "Brownian": BrownianSchedule()}
COLOURS = {1: "#0072B2", 2: "#D55E00", 3: "#009E73"}
PICTURE = Path("docs/images/convergence.png")


def main() -> None:
    figure = Figure(figsize=(9.6, 3.6), dpi=200, layout="constrained")
    panels = figure.subplots(1, len(SCHEDULES), sharey=True)
    steps = " | ".join(f"{n} steps" for n in STEPS)
    print(f"| bridge | grid | order | {steps} | slope from {STEPS[2]} |")
    print("| --- " * 3 + "| ---: " * (len(STEPS) + 1) + "|")
    for axes, (name, schedule) in zip(panels, SCHEDULES.items(), strict=True):
        for title, grid, style in (
            ("equal λ", harmless_grid, "o-"),
            ("equal t", lambda schedule, n: Uniform(), "s:"),
        ):
            for order, colour in COLOURS.items():
                distances = errors(schedule, order, STEPS, grid)
                found = slope(STEPS[2:], distances[2:])
                cells = " | ".join(f"{distance:.1e}" for distance in distances)
                print(f"| {name} | {title} | {order} | {cells} | {found:.2f} |", flush=True)
                label = f"order {order}, {title}" if name == "VP" else None
                axes.loglog(STEPS, distances, style, color=colour, label=label, markersize=4)
        axes.set(title=name, xlabel="steps")
        axes.set_xticks(STEPS, [str(n) for n in STEPS])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("RMS error of the state at t_min")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(PICTURE)
    print(f"\nPlot: {PICTURE}")


if __name__ == "__main__":
    main()
