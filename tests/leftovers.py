"""Print the segments that nobody uses any more, one a line: ``python -m tests.leftovers``.

Other suites and systems may run on the same machine: an instance is somebody's while a process
lives that writes one of its segments, or whose id is part of the instance's name.
"""

import re

from engine.segment import is_written, list_segments, process_start_ticks


def in_use(instance: str) -> bool:
    """Return whether a living process has to do with an instance."""
    if any(process_start_ticks(int(number)) for number in re.findall(r"\d+", instance)):
        return True
    return any(is_written(instance, name) for _, name in list_segments(instance))


def leftovers() -> list[str]:
    """Return the names of the segments of instances that nobody uses."""
    found = list_segments()
    # POSIX semaphores have files of a similar form.
    used = {each: in_use(each) for each in {instance for instance, _ in found} - {"sem"}}
    return sorted(f"{i}.{name}" for i, name in found if not used.get(i, True))


if __name__ == "__main__":
    for line in leftovers():
        print(line)
