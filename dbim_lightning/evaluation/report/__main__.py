"""Summarises a folder of jobs: python -m dbim_lightning.evaluation.report FOLDER."""

import sys

from dbim_lightning.errors import UserError, one_line_errors
from dbim_lightning.evaluation.report.summary import summarise


def main(arguments: list[str]) -> None:
    """Summarises the folder that is named and prints its table."""
    if len(arguments) != 1:
        raise UserError("usage: python -m dbim_lightning.evaluation.report FOLDER")
    print(summarise(arguments[0]).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
