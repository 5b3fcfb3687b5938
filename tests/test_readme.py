"""The Python that the README shows runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_python_example():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    assert names["targets"].shape == (16, 3, 32, 32)
    assert names["targets"].abs().max() <= 1
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
