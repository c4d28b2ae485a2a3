"""Processes that end with the one that started them, however that was killed; light to import."""

import os
import threading


def end_with_parent() -> None:
    """End this process, which `multiprocessing` started, when the one that started it ends."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None, "it is called in a process that multiprocessing started"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
