"""What the system refused, as we say it."""


def in_words(error: Exception) -> str:
    """Without Python's number, with the name of the file where one is known; what is no OSError has words already."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    why = error.strerror[:1].lower() + error.strerror[1:]
    return f"{error.filename}: {why}" if error.filename else why
