"""The door: sockets, who may ask for what, and what each request means.

What may never be here: a decision about a release (an event is posted and its answer awaited), disk on the loop.
"""
