"""Fails when the protos break what an earlier version of this repository promised to its clients.

The protos of the work tree are compared, by the rules in buf.yaml, with those of the commit before (the last commit,
while changes to the protos are not committed) and with those of the newest release tag. A shallow clone fetches the
commit before, if it can. Where there is nothing to compare with, as at a first commit, nothing can be broken.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def git(*arguments: str, root: Path) -> str | None:
    """Return what a git command prints, or None if it fails."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip() if done.returncode == 0 else None


def earlier_versions(root: Path) -> list[str]:
    """Return the commits whose promises hold, newest first."""
    before = "HEAD" if git("status", "--porcelain", "--", "protos", root=root) else "HEAD~1"
    if git("rev-parse", "--verify", "--quiet", before, root=root) is None:
        git("fetch", "--quiet", "--deepen=1", root=root)
    tag = git("describe", "--tags", "--abbrev=0", before, root=root)
    found = [git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", root=root) for name in (before, tag) if name]
    promised = dict.fromkeys(commit for commit in found if commit)
    return [commit for commit in promised if git("ls-tree", commit, "protos/", root=root)]


def breaks(root: Path, commit: str) -> str:
    """Return what the protos in the work tree break of those in `commit`, as buf words it; empty: nothing."""
    buf = Path(sys.executable).with_name("buf")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "earlier.tar"
        command = ["git", "-C", str(root), "archive", "--output", str(archive), commit, "protos", "buf.yaml"]
        subprocess.run(command, check=True)
        command = [str(buf), "breaking", ".", "--against", str(archive)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout:
        sys.exit(f"buf breaking failed: {done.stderr}")
    return done.stdout


def main() -> None:
    """Compare, and exit with 1 and buf's findings if something is broken."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    if (root / ".git").exists() and git("rev-parse", "HEAD", root=root) is None:
        sys.exit(f"git cannot read the repository in {root}")
    commits = earlier_versions(root)
    found = "".join(f"breaks commit {commit[:10]}:\n{text}" for commit in commits if (text := breaks(root, commit)))
    if found:
        sys.exit(found)
    sys.stdout.write(f"nothing broken of {', '.join(commit[:10] for commit in commits) or 'nothing earlier'}\n")


if __name__ == "__main__":
    main()
