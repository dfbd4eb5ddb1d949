"""What engines leave mounted."""

import subprocess
from pathlib import Path


def unmount_below(folder: Path) -> None:
    """Unmounts everything below a folder, the deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4] for line in lines]
    below = [place for place in places if place.startswith(f"{folder}/")]
    for place in sorted(below, key=len, reverse=True):
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)
