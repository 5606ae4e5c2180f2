"""relctld: the daemon that keeps Erlang and Elixir releases running."""

__version__ = "0.1.0"
