"""The garbage collector, paused while the package is imported.

A full pass visits everything that torch has made, and takes as long as all imports of this package together.
"""

import gc

_was_enabled = gc.isenabled()
gc.disable()


def resume() -> None:
    """Collects again, if it was so before."""
    if _was_enabled:
        gc.enable()
