"""Check that what is installed are the very bounds that pyproject.toml names."""

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
tested = list(project["dependencies"])
for name in extras.keys() - {"docs", "dev"}:
    tested += extras[name]
wrong = []
for requirement in map(Requirement, tested):
    if requirement.name == "skncvqvae":
        continue
    bound = next(spec.version for spec in requirement.specifier if spec.operator == ">=")
    # A local label, as in 2.4.0+cu121, says how it was built.
    installed = Version(version(requirement.name)).public
    print(f"{requirement.name} {installed}")
    if Version(installed) != Version(bound):
        wrong.append(f"{requirement}: {installed} is the lowest that can be had")
print("\n".join(wrong))
sys.exit(bool(wrong))
