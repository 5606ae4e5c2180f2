"""What the system refused, as we say it."""


def in_words(error: OSError) -> str:
    """Lower case, with the name of the file where one is known."""
    why = (error.strerror or str(error)).lower()
    return f"{error.filename}: {why}" if error.filename else why
