"""relctl as a process, by its script and by `python -m relctl`."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the midst of the imports just ends it, without a traceback

from relctl.cli import main

if __name__ == "__main__":
    main()
