"""What pyproject.toml cannot say: conf/ at the top of a clone is dbim_lightning/conf in a wheel."""

from setuptools import find_namespace_packages, find_packages, setup

groups = [f"dbim_lightning.conf.{group}" for group in find_namespace_packages("conf")]
setup(
    packages=[*find_packages(include=["dbim_lightning*"]), "dbim_lightning.conf", *groups],
    package_dir={"dbim_lightning.conf": "conf"},
)
