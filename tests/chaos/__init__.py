"""Chaos: whatever may die, hang or be asked for, at random moments, for as many rounds as one likes.

    world.py     a relctld, its logger, an epmd and three releases; who starts relctld again, as systemd would
    operators.py what is asked of them, repeated until it is answered, and what must be wanted then
    acts.py      what may happen in a round
    oracle.py    what must be true, all the time and in the end
    run.py       the rounds

`make chaos` runs it (`python -m tests.chaos --rounds 500 --seed 7`); `test_chaos.py` is a short form.
"""
