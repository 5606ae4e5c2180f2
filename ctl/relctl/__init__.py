"""relctl: the operator's client. It imports nothing of relctld but its wire."""
