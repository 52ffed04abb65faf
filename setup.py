"""The packages of the wheel: mmgan's rooms, and conf/ as mmgan/conf; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mmgan*"]), "mmgan.conf"],
    package_dir={"mmgan.conf": "conf"},
    package_data={"mmgan": ["py.typed", "report/*.jinja", "evaluation/power.json"], "mmgan.conf": ["**/*.yaml"]},
)
