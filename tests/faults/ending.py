"""Calls that must end."""

import threading


def ended(function, *arguments, seconds=60):
    """Call a function in a thread of its own, which must end; return or raise what it did."""
    found, errors = [], []

    def run():
        try:
            found.append(function(*arguments))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits for ever"
    if errors:
        raise errors[0]
    return found[0]
