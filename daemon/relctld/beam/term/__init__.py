"""Erlang's terms. Pure: bytes and text in, values out, and the other way round.

terms.py                  the types that Python does not have
etf.py, etfread.py        the External Term Format
consult.py, termscan.py   text, as file:consult/1 takes it
written.py                text again, for file:consult/1
shown.py                  a term as bounded text, for people
"""
