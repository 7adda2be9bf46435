"""Write `locked.txt`: every package of constraints.txt as it is installed here, with its SHA-256.

For CI, which installs from nothing else (`make setup LOCKED=yes`); a file that differs by a byte
is refused. It holds for one platform: that of constraints.txt. Run by `make lock`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ("hatchling", "editables", "ziglang")
"""What builds the package, which pip would otherwise fetch without a hash."""
HEAD = """\
# Made by `make lock` from constraints.txt, for CPython {python} on {platform}; see CONTRIBUTING.md.
"""


def report() -> list[dict[str, object]]:
    """The report by pip of what a fresh installation of everything would fetch."""
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
        "--report", "-", "-c", "constraints.txt", ".[dev]", *BUILD,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    installed: list[dict[str, object]] = json.loads(done.stdout)["install"]
    return installed


def line(package: dict[str, object]) -> str | None:
    """One requirement with its digest; `None` for this package itself, which is a folder."""
    match package:
        case {"download_info": {"dir_info": {}}}:
            return None
        case {
            "metadata": {"name": str(name), "version": str(version)},
            "download_info": {"archive_info": {"hashes": {"sha256": str(digest)}}},
        }:
            # `2.13.0+cpu` is a build of 2.13.0; the digest says which.
            return f"{name.lower()}=={version.partition('+')[0]} --hash=sha256:{digest}"
    raise SystemExit(f"no digest of {package.get('metadata')}")


def main() -> None:
    """Write the file."""
    lines = sorted(text for package in report() if (text := line(package)))
    head = HEAD.format(python=".".join(map(str, sys.version_info[:2])), platform=sys.platform)
    (ROOT / "locked.txt").write_text(head + "".join(f"{text}\n" for text in lines), "utf-8")
    print(f"locked.txt: {len(lines)} packages")


if __name__ == "__main__":
    main()
