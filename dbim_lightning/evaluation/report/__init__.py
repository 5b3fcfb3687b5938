"""Result rows as tables, plots and pictures: python -m dbim_lightning.evaluation.report FOLDER."""
