"""Check types: the package, a user's program with marked mistakes, and how much is annotated.

Run from the root of the repository, in an environment with the package and pyright.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

USER_SCRIPT = Path("tests/typing/user_script.py")
MIN_COMPLETENESS = 0.95
N_MISTAKES = 10


def pyright(*args):
    """Return what pyright reports as JSON."""
    command = [sys.executable, "-m", "pyright", "--outputjson", *args]
    # Pyright reads packages from the first Python on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    try:
        return json.loads(result.stdout)
    except json.JSONDecodeError:
        sys.exit(f"pyright failed:\n{result.stdout}{result.stderr}")


def errors(report):
    """Return file, line (from 1) and message of each error."""
    return [
        (found["file"], found["range"]["start"]["line"] + 1, found["message"])
        for found in report["generalDiagnostics"]
        if found["severity"] == "error"
    ]


def check_package():
    """Return complaints about the package."""
    return [f"{file}:{line}: {message}" for file, line, message in errors(pyright())]


def check_user_script():
    """Return complaints about lines that are flagged and not marked, or marked and not flagged."""
    lines = USER_SCRIPT.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if "# error:" in line}
    flagged = {line: message for _, line, message in errors(pyright(str(USER_SCRIPT)))}
    print(f"{USER_SCRIPT}: {len(flagged)} lines flagged of {len(marked)} marked")
    wrong = [
        f"{USER_SCRIPT}:{n}: right, but flagged: {message}"
        for n, message in flagged.items()
        if n not in marked
    ]
    unseen = sorted(marked - flagged.keys())
    wrong += [f"{USER_SCRIPT}:{n}: wrong, but not flagged" for n in unseen]
    if len(marked) < N_MISTAKES:
        wrong.append(f"{USER_SCRIPT}: {len(marked)} mistakes, not {N_MISTAKES}")
    return wrong


def check_completeness():
    """Return the public names without known types, if those are too many."""
    report = pyright("--verifytypes", "skncvqvae", "--ignoreexternal")["typeCompleteness"]
    public = [symbol for symbol in report["symbols"] if symbol["isExported"]]
    unknown = [symbol for symbol in public if not symbol["isTypeKnown"]]
    score = report["completenessScore"]
    print(f"{100 * score:.1f} % of {len(public)} public names have known types")
    if score >= MIN_COMPLETENESS:
        return []
    return [
        " ".join([symbol["name"], *(found["message"] for found in symbol["diagnostics"])])
        for symbol in unknown
    ]


if __name__ == "__main__":
    complaints = [*check_package(), *check_user_script(), *check_completeness()]
    for complaint in complaints:
        print(" ".join(complaint.split()))
    sys.exit(bool(complaints))
