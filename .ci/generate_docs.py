"""Write the generated tables of README.md, or check that they are current.

Usage: python .ci/generate_docs.py [--check] [README.md]
"""

import re
import sys
from pathlib import Path

from pytest_smoltrace import error_types, options
from pytest_smoltrace.schema import docs

TABLES = {
    "options": options.markdown,
    "errors": error_types.markdown,
    "fields": docs.readme_section,
}


def generated(text: str) -> str:
    """Return the text with every table between its markers made anew."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        body = table()
        text, found = pattern.subn(lambda m, body=body: f"{m[1]}{body}{m[2]}", text)
        if found != 1:
            sys.exit(f"expected one pair of markers {name}:start and {name}:end, found {found}")
    return text


def main(arguments: list[str]) -> int:
    """Write or check."""
    path = Path(next((a for a in arguments if not a.startswith("-")), "README.md"))
    text = path.read_text(encoding="utf-8")
    current = generated(text)
    if "--check" in arguments:
        if current != text:
            sys.exit(f"{path} is not current: run python .ci/generate_docs.py")
        return 0
    path.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
