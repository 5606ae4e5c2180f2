"""What relctl and relctld say to each other. Imports nothing: the client pays for it at each start."""
